"""The limits that hold for all of a job's processes together, looked at several times a second.

The container's own limits (pids, memory, the size of /job) stand behind these, with room for the runner, so that the
job is ended with a reason and the runner lives to tell it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from sdlc_agents.kernel.processes import Member, family, offer_to_the_oom_killer, proportional_bytes
from sdlc_agents.runs.protocol import FailureReason

LOOK_SECONDS = 0.25
_MEGABYTE = 1024 * 1024
_DISK_SHARE = 0.9
_OOM_EVENTS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))

log = structlog.get_logger()


@dataclass(frozen=True)
class JobLimits:
    """What a job may take. `disk_mb` None is nine tenths of what is free on the file system when it starts."""

    processes: int
    memory_mb: int
    output_mb: int
    disk_mb: int | None = None

    def explain(self, reason: FailureReason) -> str | None:
        """What happened, and what can be done, for the ticket's people; None for a reason that is none of these."""
        disk = f"{self.disk_mb} MiB" if self.disk_mb is not None else "nine tenths of what its runner has"
        return {
            "process_limit": f"the job ran more than {self.processes} processes and threads at once and was stopped: "
            "see in the transcript what started them, or ask the operator for a higher limit",
            "memory_limit": f"the job used more than {self.memory_mb} MiB of memory and was stopped: see in the "
            "transcript what ran last, let it do less at once, or ask the operator for a higher limit",
            "disk_limit": f"the job's files took more than {disk} and the job was stopped: see in the transcript what "
            "wrote them, or ask the operator for a larger /job",
            "output_limit": f"the agent and its tools put out more than {self.output_mb} MiB and were stopped: see in "
            "the transcript what printed so much, and have it print less",
        }.get(reason)


class Supervisor:
    """Calls `stop` with the reason when a limit is passed. Starts nothing, so that it works when nothing can start."""

    def __init__(self, limits: JobLimits, directory: Path, stop: Callable[[FailureReason], None]) -> None:
        self._limits = limits
        self._directory = directory
        self._stop = stop
        self._offered: set[int] = set()
        self._oom_kills = _oom_kills()
        self._free = _free_bytes(directory)
        allowed = None if limits.disk_mb is None else limits.disk_mb * _MEGABYTE
        self._disk_bytes = allowed if allowed is not None else int(self._free * _DISK_SHARE)

    def look(self) -> None:
        """Look once. To be called every `LOOK_SECONDS`."""
        living = {process: member for process, member in family().items() if member.alive}
        for process in living.keys() - self._offered:
            offer_to_the_oom_killer(process)
        self._offered = set(living)
        if sum(member.threads for member in living.values()) > self._limits.processes:
            self._end("process_limit")
        elif self._too_much_memory(living):
            self._end("memory_limit")
        elif self.disk_used() > self._disk_bytes:
            self._end("disk_limit")

    def look_back(self) -> FailureReason | None:
        """Which limit a run may have died of before it was looked at: memory, or the disk."""
        if _oom_kills() > self._oom_kills:
            return "memory_limit"
        return "disk_limit" if self.disk_used() > self._disk_bytes else None

    def disk_used(self) -> int:
        """Bytes that the file system holds more than when the job began, deleted files that are open included."""
        return self._free - _free_bytes(self._directory)

    def _too_much_memory(self, living: dict[int, Member]) -> bool:
        limit = self._limits.memory_mb * _MEGABYTE
        if sum(member.resident_bytes for member in living.values()) <= limit:
            return False
        # Processes that forked share most of it: only now is the dearer, right figure asked for.
        shares = ((proportional_bytes(process), member) for process, member in living.items())
        return sum(member.resident_bytes if share is None else share for share, member in shares) > limit

    def _end(self, reason: FailureReason) -> None:
        log.warning("limit_passed", reason=reason)
        self._stop(reason)


def _free_bytes(directory: Path) -> int:
    state = os.statvfs(directory)
    return state.f_bavail * state.f_frsize


def _oom_kills() -> int:
    """How often the kernel killed a process of this container for want of memory."""
    for path in _OOM_EVENTS:
        try:
            words = path.read_text(encoding="ascii").split()
        except OSError:
            continue
        if "oom_kill" in words:
            return int(words[words.index("oom_kill") + 1])
    return 0
