"""BENCH_AGAINST=<git ref>: the service as it was at that commit, with its own code and its own locked packages."""

import asyncio
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-bench-against"
# Its database has the shape that its own code makes.
_MIGRATE = """
import asyncio, os, pymongo
from sdlc_agents.migrations import schema
async def main():
    options = {"tlsCAFile": os.environ["MONGO_TLS_CA_FILE"]} if "MONGO_TLS_CA_FILE" in os.environ else {}
    async with pymongo.AsyncMongoClient(os.environ["MONGO_URL"], tz_aware=True, **options) as client:
        await schema.migrate(client[os.environ["MONGO_DATABASE"]])
asyncio.run(main())
"""


@dataclass(frozen=True)
class Code:
    """Where a service's code is, and the Python that runs it."""

    app: Path
    python: Path
    commit: str = ""

    def migrate(self, environment: Mapping[str, str]) -> None:
        """Give the database that the environment names this code's shape."""
        given = {"PYTHONPATH": str(self.app / "src"), **environment}
        subprocess.run([self.python, "-c", _MIGRATE], env=given, cwd=self.app, stdout=subprocess.DEVNULL, check=True)


HERE = Code(ROOT / "app", Path(sys.executable))


@asynccontextmanager
async def code_at(ref: str) -> AsyncIterator[Code]:
    """The code of a commit, unpacked, and an environment of its own lock; the environment is kept for the next time.

    Raises `subprocess.CalledProcessError` when there is no such commit, or a package cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="bench-against-") as folder:
        yield await asyncio.to_thread(_unpack, ref, Path(folder))


def _unpack(ref: str, folder: Path) -> Code:
    commit = _git("rev-parse", "--short", f"{ref}^{{commit}}").decode().strip()
    archive = folder / "app.tar"
    archive.write_bytes(_git("archive", "--format=tar", commit, "app"))
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    app = folder / "app"
    lock = app / "requirements.txt"
    key = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    python = VENV / "bin" / "python"
    if not (VENV / ".key").is_file() or (VENV / ".key").read_text(encoding="ascii") != key:
        venv.create(VENV, clear=True, with_pip=True)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock)
        subprocess.run([python, *install], check=True)
        (VENV / ".key").write_text(key, encoding="ascii")
    return Code(app, python, commit)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout  # noqa: S607
