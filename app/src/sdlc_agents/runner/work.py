"""A job from its bundle to the result: the agent's work, the project's check of it, and one repair.

The agent's work is committed and packed before the check runs, so that nothing the check leaves in the tree is ever
part of it. When the check fails the agent gets one more round, in what is left of the job's turns, cost and time; a
repair that comes to nothing leaves the work as it was. What the check says is told, it never withholds the work.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from sdlc_agents.git.command import GitError
from sdlc_agents.kernel.clock import now
from sdlc_agents.runner.check_command import ProjectCheck
from sdlc_agents.runner.claude import AgentResult, ClaudeRun, Round
from sdlc_agents.runner.egress import egress_relay
from sdlc_agents.runner.environment import Outside, sandbox_environment
from sdlc_agents.runner.guard import Guard
from sdlc_agents.runner.repair import repair_prompt
from sdlc_agents.runner.workspace import JobDirectory, JobWorkspace
from sdlc_agents.runs.protocol import Check, Event, Failed, FailureReason, Finished, JobRequest, Started, shorten

_LEAST_SECONDS = 10.0
_LEAST_USD = 0.01
# What is read here may never answer, a pipe in place of a file say: so reading it has an end, too.
_GIT_SECONDS = 30.0

log = structlog.get_logger()


class RoundError(Exception):
    """A round of the agent's came to no good end."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass
class Work:
    """One job's work; `result` is the bundle of what was made, None while there is none."""

    job: JobRequest
    directory: JobDirectory
    outside: Outside
    guard: Guard
    emit: Callable[[Event], None]
    result: Path | None = None
    _turns: int = 0
    _cost_usd: float = 0.0
    _seconds: float = 0.0
    _deadline: float = 0.0
    _workspace: JobWorkspace = field(init=False)

    def __post_init__(self) -> None:
        self._workspace = JobWorkspace(self.directory, self.job)

    async def run(self) -> Finished | Failed:
        """Do it all. Ends with an event, whatever goes wrong."""
        self._deadline = asyncio.get_running_loop().time() + self.job.timeout_seconds
        try:
            async with egress_relay(self.outside.proxy, self.job.job_id, self.job.egress_token) as proxy:
                self.outside = replace(self.outside, proxy=proxy)
                return await self._run()
        except RoundError as error:
            reason, message = error.reason, error.message
        except Exception as error:
            log.exception("job_crashed", job_id=self.job.job_id)
            reason = self.guard.died_of() or "agent_error"
            message = self._explain(reason) or f"the runner failed: {type(error).__name__}"
        return Failed(
            at=now(),
            reason=reason,
            message=shorten(message or "the agent ended without a word"),
            turns=self._turns,
            duration_seconds=self._seconds,
        )

    async def _run(self) -> Finished:
        job = self.job
        first = await self._round(Round(job.prompt, job.max_turns, job.max_cost_usd), begin=True)
        text = first.text
        check: Check | None = None
        repair_failed: FailureReason | None = None
        await self._commit(job.commit_message)
        if job.check is not None and self.result is not None:
            environment = sandbox_environment(job, self.directory, self.outside)
            project = ProjectCheck(job.check, self.directory.repository, environment, self.guard)
            check = await self._check(project, 1)
            if not check.passed:
                try:
                    said, check = await self._repair(first, project, check)
                    text = f"{text.strip()}\n\n{said.strip()}"
                except RoundError as error:
                    if error.reason == "cancelled":
                        raise
                    log.info("repair_failed", reason=error.reason)
                    repair_failed = error.reason
        return Finished(
            at=now(),
            text=shorten(text + self._workspace.left_out),
            turns=self._turns,
            duration_seconds=self._seconds,
            changed=self.result is not None,
            check=None if check is None else check.result,
            repair_failed=repair_failed,
        )

    async def _round(self, asked: Round, *, begin: bool = False) -> AgentResult:
        """Claude Code once, to its own end. Raises `RoundError` for any other."""
        run = ClaudeRun(self.job, asked, self.directory, self.outside)
        try:
            async with self.guard.phase(self._left()):
                if begin:
                    await self._workspace.unpack()
                async for event in run.events():
                    if begin or not isinstance(event, Started):
                        self.emit(event)
        except (GitError, OSError) as error:
            raise self._broken(error) from error
        finally:
            outcome = run.outcome
            self._turns += outcome.turns
            self._cost_usd += outcome.cost_usd
            self._seconds += outcome.seconds
        # Nothing of the agent's may still run while its work is read.
        survivors = not await self.guard.kill()
        reason = self.guard.reason
        if reason is None and outcome.reason == "agent_error":
            reason = self.guard.died_of()
        if reason is not None:
            raise RoundError(reason, self._explain(reason))
        if survivors:
            raise RoundError("agent_error", "processes of the agent could not be killed")
        if outcome.reason is not None:
            raise RoundError(outcome.reason, outcome.text)
        return outcome

    async def _commit(self, message: str) -> bool:
        try:
            async with self.guard.phase(max(_GIT_SECONDS, self._left())):
                changed = await self._workspace.commit(message)
                if changed:
                    self.result = await self._workspace.pack()
        except (GitError, OSError) as error:
            raise self._broken(error) from error
        return changed

    async def _check(self, project: ProjectCheck, number: int) -> Check:
        check = await project.run(number, self._left())
        self._seconds += check.seconds
        if self.guard.cancelled:
            raise RoundError("cancelled", self._explain("cancelled"))
        self.emit(check)
        log.info("checked", round=number, result=check.result, seconds=round(check.seconds, 1))
        return check

    async def _repair(self, first: AgentResult, project: ProjectCheck, failed: Check) -> tuple[str, Check]:
        """What the agent said of its repair, and what the check then came to. Raises `RoundError`."""
        job = self.job
        turns, cost_usd, seconds = job.max_turns - self._turns, job.max_cost_usd - self._cost_usd, self._left()
        nothing_left: dict[FailureReason, bool] = {
            "time_limit": seconds < _LEAST_SECONDS,
            "turn_limit": turns < 1,
            "cost_limit": cost_usd < _LEAST_USD,
        }
        for reason, is_so in nothing_left.items():
            if is_so:
                raise RoundError(reason, self._explain(reason))
        try:
            async with self.guard.phase(max(_GIT_SECONDS, seconds)):
                await self._workspace.restore()
        except (GitError, OSError) as error:
            raise self._broken(error) from error
        said = await self._round(Round(repair_prompt(failed, seconds=seconds), turns, cost_usd, first.session))
        if not await self._commit(f"{job.commit_message}\n\nMends what the project's check found."):
            raise RoundError("agent_error", "the repair took all of the work back")
        return said.text, await self._check(project, 2)

    def _left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    def _broken(self, error: GitError | OSError) -> RoundError:
        reason = self.guard.died_of() or "workspace_error"
        said = error.message if isinstance(error, GitError) else str(error)
        return RoundError(reason, self._explain(reason) or said)

    def _explain(self, reason: FailureReason) -> str:
        words: dict[FailureReason, str] = {
            "time_limit": f"the agent did not finish within {self.job.timeout_seconds:.0f} seconds",
            "cancelled": "the job was cancelled",
        }
        return words.get(reason) or self.guard.limits.explain(reason) or ""
