"""Keeping hold of every process that a job starts.

The runner makes itself a *subreaper* (prctl(2)): a process whose parent died becomes its child, so nothing that a job
starts, however often it forks and detaches, leaves its family. It also makes itself undumpable, so that processes of
the same user can neither trace it nor read its memory.
"""

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
# Of the fields in /proc/PID/stat after the command's name: state is the 3rd of all, rss the 24th.
_STATE, _PARENT, _GROUP = 0, 1, 2
_DEAD = (b"Z", b"X")
_THREADS = 17
_RESIDENT = 21
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

REAP_SECONDS = 1.0
KILL_SECONDS = 10.0

log = structlog.get_logger()


def hold_descendants() -> None:
    """Make this process the parent of every orphan below it, and untraceable."""
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


@dataclass(frozen=True)
class Member:
    """A process below this one: its state as in proc(5) (R, S, Z, …), its threads and its resident memory."""

    state: str
    threads: int
    resident_bytes: int

    @property
    def alive(self) -> bool:
        """Whether it still runs, in the widest sense."""
        return self.state not in {"Z", "X"}


def family(of: int | None = None) -> dict[int, Member]:
    """The processes below `of` (this process), by their ids: one pass over /proc."""
    parents: dict[int, list[tuple[int, Member]]] = {}
    for process, fields in _stats():
        member = Member(fields[_STATE].decode(), int(fields[_THREADS]), int(fields[_RESIDENT]) * _PAGE_BYTES)
        parents.setdefault(int(fields[_PARENT]), []).append((process, member))
    found: dict[int, Member] = {}
    waiting = [os.getpid() if of is None else of]
    while waiting:
        for child, member in parents.get(waiting.pop(), ()):
            found[child] = member
            waiting.append(child)
    return found


def _stats() -> Iterator[tuple[int, list[bytes]]]:
    """The id of every process there is, and its fields in /proc/PID/stat from the state on."""
    for name in os.listdir(_PROC):  # noqa: PTH208 - several times a second
        if name.isdigit():
            try:
                with open(f"{_PROC}/{name}/stat", "rb", buffering=0) as file:  # noqa: PTH123
                    # `pid (comm) state ppid …`; comm may hold anything, also brackets.
                    fields = file.read().rpartition(b") ")[2].split()
            except OSError:
                continue
            yield int(name), fields


def group_lives(group: int) -> bool:
    """Whether a process of this process group still runs, in the widest sense."""
    return any(int(fields[_GROUP]) == group and fields[_STATE] not in _DEAD for _, fields in _stats())


def descendants(of: int | None = None) -> dict[int, str]:
    """The process ids below `of` (this process) and their states."""
    return {process: member.state for process, member in family(of).items()}


def offer_to_the_oom_killer(process: int) -> None:
    """Make the kernel, when memory runs out, kill this process rather than the runner; its children inherit it."""
    with suppress(OSError):
        (_PROC / str(process) / "oom_score_adj").write_text("1000", encoding="ascii")


def proportional_bytes(process: int) -> int | None:
    """The process's memory with what it shares counted in parts (PSS); None when it cannot be read.

    One that has ended meanwhile has none.
    """
    try:
        content = (_PROC / str(process) / "smaps_rollup").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except OSError:
        return None
    for line in content.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


async def kill_descendants(seconds: float = KILL_SECONDS) -> bool:
    """Kill everything below this process; False when something still lives after `seconds`.

    All are stopped before any is killed, so that a process that forks faster than it is found is found in the end.
    """
    deadline = time.monotonic() + seconds
    while alive := _alive():
        if time.monotonic() > deadline:
            log.error("processes_survive", count=len(alive))
            return False
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in _alive() if number == signal.SIGKILL else alive:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, number)
        await asyncio.sleep(0.01)
    return True


def _alive() -> list[int]:
    return [process for process, member in family().items() if member.alive]


async def reap_orphans() -> None:
    """Collect dead orphans for ever, so that they do not use up the container's process limit.

    A child that someone here waits for is collected at once by whoever waits; what is still there a second later is
    nobody's.
    """
    before: set[int] = set()
    while True:
        await asyncio.sleep(REAP_SECONDS)
        dead = {process for process, state in descendants().items() if state == "Z"}
        for process in dead & before:
            with suppress(ChildProcessError):
                os.waitpid(process, os.WNOHANG)  # noqa: ASYNC222 - does not block
        before = dead
