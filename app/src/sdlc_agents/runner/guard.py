"""Ending what a job has started: when a limit is passed, when its time is over, when nobody wants it any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sdlc_agents.kernel.processes import family, kill_descendants
from sdlc_agents.runner.limits import LOOK_SECONDS, JobLimits, Supervisor
from sdlc_agents.runs.protocol import FailureReason

_SETTLE_LOOKS = 40
_FEW = 16


class Guard:
    """Watches over the phases of one job, one after the other; `reason` says why the last one was ended, if it was."""

    def __init__(self, limits: JobLimits, directory: Path) -> None:
        self.limits = limits
        self.reason: FailureReason | None = None
        self._supervisor = Supervisor(limits, directory, self.stop)
        self._in_phase = False
        self._kills: list[asyncio.Task[bool]] = []

    @property
    def cancelled(self) -> bool:
        """Whether the whole job was ended, not a phase of it."""
        return self.reason == "cancelled"

    def stop(self, reason: FailureReason) -> None:
        """Kill whatever runs, at once. The first reason of a phase stays, and `cancelled` is for good."""
        if self.cancelled or (reason != "cancelled" and (self.reason is not None or not self._in_phase)):
            return
        self.reason = reason
        self._kills.append(asyncio.create_task(kill_descendants(), name="kill"))

    @asynccontextmanager
    async def phase(self, seconds: float) -> AsyncIterator[None]:
        """A part of the job that is stopped by itself: nothing that was started in it lives when the block is left."""
        if not self.cancelled:
            self.reason = None
        self._in_phase = True
        watching = asyncio.create_task(self._watch(), name="limits")
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self.stop, "time_limit")
        try:
            yield
        finally:
            self._in_phase = False
            timer.cancel()
            watching.cancel()
            await self.kill()
            await _settled()

    async def kill(self) -> bool:
        """Kill whatever runs; False when something cannot be killed."""
        kills, self._kills = self._kills, []
        return all(await asyncio.gather(kill_descendants(), *kills))

    async def _watch(self) -> None:
        while True:
            if self.reason is None:
                self._supervisor.look()
            else:
                # What was about to start when the rest was killed.
                await kill_descendants()
            await asyncio.sleep(LOOK_SECONDS)

    def died_of(self) -> FailureReason | None:
        """What a phase that broke off may have died of before its limits were looked at."""
        return self.reason or self._supervisor.look_back()


async def _settled() -> None:
    """Wait until the dead are collected: each counts against the container's process limit until then."""
    for _ in range(_SETTLE_LOOKS):
        if len(family()) <= _FEW:
            return
        await asyncio.sleep(LOOK_SECONDS)
