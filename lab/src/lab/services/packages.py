"""The locked Python packages of the container, unpacked for its Python into the cache."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lab import paths
from lab.console import step
from lab.process import content_key, locked, run

PYTHON = "3.13"
"""That of Debian 13, which the container's image is made of."""

_LOCK = paths.SERVICES / "requirements.txt"
_PLATFORMS = ("manylinux_2_36", "manylinux_2_28", "manylinux_2_17", "manylinux2014")


def ensure() -> Path:
    """The folder that goes on the container's PYTHONPATH, filled if the lock is new."""
    folder = paths.cache("services-python", content_key(PYTHON, _LOCK.read_text()))
    with locked("services-python"):
        if folder.is_dir():
            return folder
        with (
            step("fetching the Jira emulator from PyPI"),
            tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
        ):
            half = Path(scratch, "packages")
            platforms = [word for name in _PLATFORMS for word in ("--platform", f"{name}_x86_64")]
            run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"),
                    *("--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *platforms),
                    *("--target", str(half), "--requirement", str(_LOCK)),
                ],
                hint="check that this machine's pip reaches its package index, then try again",
            )
            half.rename(folder)
    return folder
