"""Copies of the lab's own code, for containers that run it.

A container that mounted the checkout would run what is being edited there, could not start again once the checkout is
gone, and would be another one for each clone of the same state.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from lab import paths
from lab.process import content_key, file_sha256, locked, scratch


def of(files: Iterable[Path]) -> Path:
    """A folder in the cache with *files* of this package, each under its path in it. Its name stands for them all."""
    names = {str(file.relative_to(paths.PACKAGE)): file for file in files}
    folder = paths.cache("code", content_key(*(f"{name} {file_sha256(names[name])}" for name in sorted(names))))
    with locked("code"):
        if folder.is_dir():
            return folder
        with scratch() as outer:
            half = outer / "code"
            half.mkdir(mode=0o755)
            for name, file in names.items():
                target = half / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            half.rename(folder)
    return folder
