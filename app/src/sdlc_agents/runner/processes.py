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
from contextlib import suppress
from pathlib import Path

import structlog

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")

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


def descendants(of: int | None = None) -> dict[int, str]:
    """The process ids below `of` (this process) and their states as in proc(5): R, S, Z, …"""
    parents: dict[int, list[tuple[int, str]]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # `pid (comm) state ppid …`; comm may hold anything, also brackets.
                state, parent = (entry / "stat").read_text(errors="replace").rpartition(") ")[2].split()[:2]
                parents.setdefault(int(parent), []).append((int(entry.name), state))
    found: dict[int, str] = {}
    waiting = [os.getpid() if of is None else of]
    while waiting:
        for child, state in parents.get(waiting.pop(), ()):
            found[child] = state
            waiting.append(child)
    return found


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
    return [process for process, state in descendants().items() if state not in {"Z", "X"}]


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
