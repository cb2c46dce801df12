"""The one job of a runner's life: taken, run, handed back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import structlog

from sdlc_agents.kernel.errors import ConflictError, NotFoundError
from sdlc_agents.runner.environment import Outside
from sdlc_agents.runner.guard import Guard
from sdlc_agents.runner.limits import JobLimits
from sdlc_agents.runner.metrics import RunnerMetrics
from sdlc_agents.runner.work import Work
from sdlc_agents.runner.workspace import JobDirectory
from sdlc_agents.runs.protocol import HEARTBEAT_SECONDS, Check, Event, Finished, JobRequest, to_line

State = Literal["idle", "busy", "used"]
_HEARTBEAT = b"\n"
_MEGABYTE = 1024 * 1024
_DOWNLOAD_SECONDS = 300.0

log = structlog.get_logger()


class JobSlot:
    """Holds the job. `done` is set when the process has nothing left to do and should end."""

    def __init__(
        self,
        directory: JobDirectory,
        metrics: RunnerMetrics,
        *,
        outside: Outside,
        limits: JobLimits,
        collect_seconds: float,
    ) -> None:
        self.directory = directory
        self.done = asyncio.Event()
        self.state: State = "idle"
        self._metrics = metrics
        self._outside = outside
        self._limits = limits
        self._collect_seconds = collect_seconds
        self._job: JobRequest | None = None
        self._result: Path | None = None
        self._guard: Guard | None = None
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    def take(self) -> None:
        """Reserve the slot; raises `ConflictError` when it is not free."""
        if self.state != "idle":
            raise ConflictError(f"this runner is {self.state}")
        self.state = "busy"

    def release(self) -> None:
        """Give the slot back: the job could not be read, nothing has run yet."""
        self.state = "idle"

    async def lines(self, job: JobRequest) -> AsyncIterator[bytes]:
        """Run the job; its events as NDJSON, with a blank line when there was none for a while."""
        self._job = job
        self._guard = guard = Guard(self._limits, self.directory.root)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(job, guard, queue), name="job")
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    line = await queue.get()
            except TimeoutError:
                line = _HEARTBEAT
            if line is None:
                return
            yield line

    def reader_left(self) -> None:
        """Nobody reads the events any more: a job that still runs is stopped, a result waits to be collected."""
        if self.state == "busy":
            log.warning("consumer_left")
            self.stop()
            self.done.set()
        else:
            # A consumer that lives asks for the result at once; one that asked already is downloading it.
            self._leave_after(self._collect_seconds, unless_set=True)

    def bundle(self, job_id: str) -> Path | None:
        """The result's bundle; None when nothing changed. Raises `NotFoundError` for another job."""
        self._check(job_id)
        if self.state != "used":
            raise ConflictError("the job has not ended")
        self._leave_after(_DOWNLOAD_SECONDS)
        return self._result

    def discard(self, job_id: str) -> None:
        """Stop the job if it runs, and end the process. Raises `NotFoundError` for another job."""
        self._check(job_id)
        self.stop()
        self.done.set()

    def stop(self) -> None:
        """Kill whatever the job started, at once: nobody wants it any more."""
        if self.state == "busy" and self._guard is not None:
            self._guard.stop("cancelled")

    def _leave_after(self, seconds: float, *, unless_set: bool = False) -> None:
        if self._leaving is not None:
            if unless_set:
                return
            self._leaving.cancel()
        self._leaving = asyncio.get_running_loop().call_later(seconds, self.done.set)

    def _check(self, job_id: str) -> None:
        if self._job is None or self._job.job_id != job_id:
            raise NotFoundError("this runner has no such job")

    async def _run(self, job: JobRequest, guard: Guard, queue: asyncio.Queue[bytes | None]) -> None:
        size = 0

        def emit(event: Event) -> None:
            nonlocal size
            line = to_line(event)
            size += len(line)
            if size > guard.limits.output_mb * _MEGABYTE and not isinstance(event, Check):
                guard.stop("output_limit")
            else:
                queue.put_nowait(line)

        work = Work(job, self.directory, self._outside, guard, emit)
        try:
            end = await work.run()
        finally:
            await guard.kill()
        if isinstance(end, Finished):
            self._result = work.result
        self.state = "used"
        self._metrics.ended(end)
        queue.put_nowait(to_line(end))
        queue.put_nowait(None)
