"""The wheels of the app's lock, as a package index of static files (PEP 503)."""

from __future__ import annotations

import shutil
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab import downloads, paths
from lab.console import step
from lab.mirror.repository import link_or_copy
from lab.process import content_key, file_sha256, locked, scratch, write

# Debian's Python by suite.
PYTHON = {"trixie": "3.13", "bookworm": "3.11"}

_PLATFORMS = ("manylinux_2_36", "manylinux_2_34", "manylinux_2_31", "manylinux_2_28")
_OLD_PLATFORMS = ("manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5", "manylinux1")


def publish(folder: Path, lock: Path, suites: tuple[str, ...]) -> None:
    """Make *folder* an index of what *lock* pins, for the Pythons of *suites*.

    Wheels that were fetched before for the Python of another suite are served as well.
    """
    locked_wheels = lock.read_text()
    pythons = [
        python
        for suite, python in PYTHON.items()
        if suite in suites or _folder(applicable(locked_wheels, python), python).is_dir()
    ]
    sources = [_fetched(locked_wheels, python) for python in pythons]
    key = content_key(*(source.name for source in sources))
    finished = folder / "complete"
    if finished.is_file() and finished.read_text() == key:
        return
    shutil.rmtree(folder, ignore_errors=True)
    projects: dict[str, list[str]] = {}
    for wheel in sorted({wheel.name: wheel for s in sources for wheel in s.glob("*.whl")}.values()):
        name: str = canonicalize_name(wheel.name.split("-")[0])
        target = folder / "simple" / name / wheel.name
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(wheel, target)
        link = f'<a href="{wheel.name}#sha256={file_sha256(wheel)}">{wheel.name}</a><br>'
        projects.setdefault(name, []).append(link)
    for name, links in projects.items():
        write(folder / "simple" / name / "index.html", _page(links))
    index = [f'<a href="{name}/">{name}</a><br>' for name in sorted(projects)]
    write(folder / "simple" / "index.html", _page(index))
    write(finished, key)


def applicable(lock: str, python: str) -> str:
    """The lines of *lock* whose markers hold on Linux with *python*, without the markers.

    pip judges markers by the Python that it runs on, also when it downloads for another one.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    lines = []
    for line in lock.replace("\\\n", " ").splitlines():
        text, _, _ = line.partition(" #")
        pinned, separator, hashes = text.strip().partition(" --hash=")
        if not separator or pinned.startswith("#"):
            continue
        requirement = Requirement(pinned.strip())
        if requirement.marker is None or requirement.marker.evaluate(environment):
            lines.append(f"{requirement.name}{requirement.specifier} --hash={hashes.strip()}")
    return "\n".join(lines)


def _fetched(lock: str, python: str) -> Path:
    requirements = applicable(lock, python)
    folder = _folder(requirements, python)
    with locked("wheels"):
        if folder.is_dir():
            return folder
        with (
            scratch() as outer,
            step(f"fetching {requirements.count('==')} wheels for Python {python} from PyPI"),
        ):
            half = outer / "wheels"
            half.mkdir(mode=0o755)
            platforms = [f"{name}_x86_64" for name in (*_PLATFORMS, *_OLD_PLATFORMS)]
            options = ["--implementation", "cp", "--python-version", python]
            options += [word for name in platforms for word in ("--platform", name)]
            downloads.pip_download(half, requirements, *options)
            half.rename(folder)
    return folder


def _folder(requirements: str, python: str) -> Path:
    return paths.cache("wheels", f"{python}-{content_key(requirements)}")


def _page(lines: list[str]) -> str:
    body = "\n".join(lines)
    return f"<!DOCTYPE html>\n<html><body>\n{body}\n</body></html>\n"
