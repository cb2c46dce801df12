"""Run commands, wait for conditions, hold locks, replace files: the lab's few primitives."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab import paths
from lab.console import LabError, say


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    hint: str = "",
    timeout: float = 1800,
) -> str:
    """Run *command* and return its standard output.

    Args:
        stdin: Text for its standard input; none is given otherwise.
        env: Variables added to this process's environment.
        hint: What the reader can do when it fails.
        timeout: Seconds after which it is ended and has failed.

    Raises:
        LabError: It failed; the message carries the end of what it printed.
    """
    result = attempt(command, stdin=stdin, cwd=cwd, env=env, timeout=timeout)
    if result.returncode != 0:
        tail = "\n".join((result.stdout + result.stderr).strip().splitlines()[-25:])
        raise LabError(f"`{_shown(command)}` failed with status {result.returncode}:\n{tail}", hint)
    return result.stdout


def attempt(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 1800,
) -> subprocess.CompletedProcess[str]:
    """Run *command* and return how it went, whatever its exit status."""
    try:
        return subprocess.run(
            list(command),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(list(command), 127, "", f"{command[0]}: not found")
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{_shown(command)}` did not end within {timeout:.0f} s") from error


def succeeds(command: Sequence[str]) -> bool:
    """Whether *command* exits with 0."""
    return attempt(command).returncode == 0


def wait_until(condition: Callable[[], bool], what: str, *, timeout: float, hint: str = "") -> None:
    """Poll *condition* until it is true.

    Raises:
        LabError: It was not within *timeout* seconds.
    """
    deadline = time.monotonic() + timeout
    announced = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not so after {timeout:.0f} s", hint)
        if time.monotonic() > announced:
            say(f"waiting: {what} …")
            announced = time.monotonic() + 30
        time.sleep(0.2)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the machine-wide lock *name*: several people may use one lab at a time."""
    with paths.cache("locks", f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another lab command that holds the lock '{name}' …")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write(path: Path, text: str, *, mode: int = 0o644) -> bool:
    """Replace the file at *path* at once, never leaving half of it. Tell whether it changed."""
    if path.is_file() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as handle:
        handle.write(text)
    half.chmod(mode)
    half.replace(path)
    return True


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in the cache, on the same file system as what is made in it; gone afterwards.

    Folders that killed commands left behind are removed as well.
    """
    for old in paths.cache("scratch", "x").parent.iterdir():
        if not Path("/proc", old.name.partition("-")[0]).exists():
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=paths.cache("scratch")) as folder:
        yield Path(folder)


def content_key(*parts: str) -> str:
    """Twelve hexadecimal digits that stand for *parts*."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:12]


def file_sha256(path: Path) -> str:
    """The SHA-256 of the file at *path*, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _shown(command: Sequence[str]) -> str:
    text = shlex.join(command)
    return text if len(text) < 300 else f"{text[:300]} …"
