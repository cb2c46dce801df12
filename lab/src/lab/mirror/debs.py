"""Debian packages, built reproducibly: the same content gives the same file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import paths
from lab.process import content_key, file_sha256, locked, run, scratch

# The date of every file in a package: any that does not move.
_EPOCH = 1_735_689_600  # 2025-01-01


@dataclass(frozen=True)
class File:
    """A file of a package: its text, or the path of what to copy."""

    content: str | Path
    mode: int = 0o644


@dataclass(frozen=True)
class Package:
    """What a package holds, as dpkg-deb(1) and deb-control(5) want it.

    Attributes:
        control: Fields of the control file, without Package and Version.
        files: Absolute path on the host to what stands there.
        configuration: Those of the files that dpkg keeps as the administrator left them.
        scripts: Maintainer scripts by name (postinst, …).
    """

    name: str
    version: str
    control: Mapping[str, str]
    files: Mapping[str, File] = field(default_factory=dict)
    configuration: tuple[str, ...] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)


def build(package: Package) -> Path:
    """The package's file in the cache, built if its content is new."""
    key = content_key(package.name, package.version, *_described(package))
    deb = paths.cache("debs", f"{package.name}_{package.version}_{key}.deb")
    with locked(f"deb-{package.name}"):
        if not deb.is_file():
            with scratch() as folder:
                _pack(package, folder, deb)
    return deb


def _pack(package: Package, folder: Path, deb: Path) -> None:
    tree, half = folder / "tree", folder / "half.deb"
    for target, file in package.files.items():
        _place(tree / target.lstrip("/"), file)
    fields = {"Package": package.name, "Version": package.version, **package.control}
    control = "".join(f"{name}: {value}\n" for name, value in fields.items())
    _place(tree / "DEBIAN/control", File(control))
    if package.configuration:
        _place(tree / "DEBIAN/conffiles", File("".join(f"{p}\n" for p in package.configuration)))
    for name, script in package.scripts.items():
        _place(tree / "DEBIAN" / name, File(script, 0o755))
    for path in [tree, *tree.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (_EPOCH, _EPOCH))
    run(
        ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", str(tree), str(half)],
        env={"SOURCE_DATE_EPOCH": str(_EPOCH)},
    )
    half.replace(deb)


def _place(path: Path, file: File) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, Path):
        shutil.copyfile(file.content, path)
    else:
        path.write_text(file.content)
    path.chmod(file.mode)


def _described(package: Package) -> list[str]:
    parts = [f"{name}: {value}" for name, value in package.control.items()]
    for target, file in package.files.items():
        content = file.content if isinstance(file.content, str) else file_sha256(file.content)
        parts += [target, oct(file.mode), content]
    parts += [*package.configuration]
    parts += [text for pair in package.scripts.items() for text in pair]
    return parts
