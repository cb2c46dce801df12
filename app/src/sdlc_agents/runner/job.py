"""The one job of a runner's life: taken, run, handed back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import structlog

from sdlc_agents.agent.git import GitError
from sdlc_agents.clock import now
from sdlc_agents.errors import ConflictError, NotFoundError
from sdlc_agents.runner.claude import ClaudeRun, Outside
from sdlc_agents.runner.metrics import RunnerMetrics
from sdlc_agents.runner.processes import kill_descendants
from sdlc_agents.runner.protocol import (
    HEARTBEAT_SECONDS,
    Failed,
    FailureReason,
    Finished,
    JobRequest,
    shorten,
    to_line,
)
from sdlc_agents.runner.workspace import JobDirectory, Workspace

State = Literal["idle", "busy", "used"]
_HEARTBEAT = b"\n"

log = structlog.get_logger()


class JobSlot:
    """Holds the job. `done` is set when the process has nothing left to do and should end."""

    def __init__(
        self, directory: JobDirectory, metrics: RunnerMetrics, *, outside: Outside, collect_seconds: float
    ) -> None:
        self.directory = directory
        self.done = asyncio.Event()
        self.state: State = "idle"
        self._metrics = metrics
        self._outside = outside
        self._collect_seconds = collect_seconds
        self._job: JobRequest | None = None
        self._result: Path | None = None
        self._stopped: FailureReason | None = None
        self._killing: asyncio.Task[bool] | None = None
        self._task: asyncio.Task[None] | None = None

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
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(job, queue), name="job")
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
            self.stop("cancelled")
            self.done.set()
        else:
            asyncio.get_running_loop().call_later(self._collect_seconds, self.done.set)

    def bundle(self, job_id: str) -> Path | None:
        """The result's bundle; None when nothing changed. Raises `NotFoundError` for another job."""
        self._check(job_id)
        if self.state != "used":
            raise ConflictError("the job has not ended")
        return self._result

    def discard(self, job_id: str) -> None:
        """Stop the job if it runs, and end the process. Raises `NotFoundError` for another job."""
        self._check(job_id)
        self.stop("cancelled")
        self.done.set()

    def stop(self, reason: FailureReason) -> None:
        """Kill whatever the job started, at once; the first reason stays."""
        if self.state == "busy" and self._stopped is None:
            self._stopped = reason
            self._killing = asyncio.create_task(kill_descendants(), name="kill")

    def _check(self, job_id: str) -> None:
        if self._job is None or self._job.job_id != job_id:
            raise NotFoundError("this runner has no such job")

    async def _run(self, job: JobRequest, queue: asyncio.Queue[bytes | None]) -> None:
        timer = asyncio.get_running_loop().call_later(job.timeout_seconds, self.stop, "time_limit")
        run = ClaudeRun(job, self.directory, self._outside)
        workspace = Workspace(self.directory, job)
        end: Finished | Failed
        try:
            await workspace.unpack()
            async for event in run.events():
                queue.put_nowait(to_line(event))
            end = await self._conclude(job, run, workspace)
        except GitError as error:
            end = self._failed(run, self._stopped or "workspace_error", error.message, job)
        except Exception as error:
            log.exception("job_crashed", job_id=job.job_id)
            end = self._failed(run, "agent_error", f"the runner failed: {type(error).__name__}", job)
        finally:
            timer.cancel()
            await kill_descendants()
        self.state = "used"
        self._metrics.ended(end)
        queue.put_nowait(to_line(end))
        queue.put_nowait(None)

    async def _conclude(self, job: JobRequest, run: ClaudeRun, workspace: Workspace) -> Finished | Failed:
        # Nothing of the agent's may still run while its work is read.
        survivors = not await kill_descendants()
        if self._stopped is not None:
            return self._failed(run, self._stopped, "", job)
        if survivors:
            return self._failed(run, "agent_error", "processes of the agent could not be killed", job)
        if run.outcome.reason is not None:
            return run.outcome.failed()
        changed = await workspace.commit()
        if changed:
            self._result = await workspace.pack()
        return Finished(
            at=now(),
            text=shorten(run.outcome.text + workspace.left_out),
            turns=run.outcome.turns,
            duration_seconds=run.outcome.seconds,
            changed=changed,
        )

    @staticmethod
    def _failed(run: ClaudeRun, reason: FailureReason, message: str, job: JobRequest) -> Failed:
        run.outcome.reason = reason
        run.outcome.text = {
            "time_limit": f"the agent did not finish within {job.timeout_seconds:.0f} seconds",
            "cancelled": "the job was cancelled",
        }.get(reason, message)
        return run.outcome.failed()
