"""Working on one claim at a time: the execution, its lease, its end."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import stamina
import structlog

from sdlc_agents.consumer.claims.claim import Claim, LeaseLostError
from sdlc_agents.consumer.run.execution import Execution, RunServices
from sdlc_agents.developments.model import Notice, Outcome, Status
from sdlc_agents.kernel.errors import ServiceError, UnavailableError

_RENEWALS_A_LEASE = 3
_CANCEL_SECONDS = 1.0
_STORE_SECONDS = 300.0

log = structlog.get_logger()


class Worker:
    """Runs claims. `stop` asks the one under way to come to an end within the bound, or to be handed back."""

    def __init__(self, tools: RunServices, stop: asyncio.Event) -> None:
        self._tools = tools
        self._stop = stop

    async def work(self, claim: Claim) -> None:
        """Work on a claim until it ended, was lost or was handed back.

        Raises `UnavailableError` when the database was away for too long to say how it ended: then its lease runs out.
        """
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(
            development_id=claim.development_id, jira_issue_key=claim.jira_issue_key, fence=claim.fence
        )
        log.info("development_claimed", attempt=claim.attempt)
        metrics = self._tools.metrics
        with metrics.running.track_inprogress():
            execution = Execution(self._tools, claim)
            running = asyncio.create_task(self._run(execution, claim), name="run")
            keeping = asyncio.create_task(self._keep_lease(claim), name="lease")
            stopping = asyncio.create_task(self._stopping(execution), name="stopping")
            cancelling = asyncio.create_task(self._cancelling(execution, claim, running), name="cancelling")
            try:
                await asyncio.wait({running, keeping, stopping, cancelling}, return_when=asyncio.FIRST_COMPLETED)
                if cancelling.done():
                    by = await cancelling
                    # It is cancelled already: a second time would break off what it does at its end.
                    await asyncio.wait({running})
                    await self._finish(claim, await execution.cancelled(by))
                elif running.done():
                    await running
                elif keeping.done():
                    await keeping
                else:
                    await _cancel(running)
                    await self._tools.developments.hand_back(claim)
                    metrics.handed_back.inc()
                    log.info("development_handed_back")
            except LeaseLostError as error:
                metrics.leases_lost.inc()
                log.warning("lease_lost", error=error.message)
            finally:
                await _cancel(running, keeping, stopping, cancelling)
                structlog.contextvars.clear_contextvars()

    async def _run(self, execution: Execution, claim: Claim) -> None:
        try:
            outcome = await execution.run()
        except (LeaseLostError, UnavailableError):
            # Without the database nothing can be said of this run: whoever takes the lease over begins anew.
            raise
        except Exception as error:
            log.exception("run_crashed")
            message = f"the consumer failed with an internal error ({type(error).__name__}); its log says more"
            outcome = await execution.failed(ServiceError(message))
        execution.publishing = True
        await self._finish(claim, outcome)

    async def _finish(self, claim: Claim, outcome: Outcome) -> None:
        notices = [] if self._tools.jira is None else [Notice.TICKET]
        if outcome.status is Status.FAILED:
            notices.append(Notice.ERROR_QUEUE)
        if claim.follow_up is not None:
            notices.append(Notice.PULL_REQUEST)
        async for attempt in stamina.retry_context(on=UnavailableError, attempts=None, timeout=_STORE_SECONDS):
            with attempt:
                await self._tools.developments.finish(claim, outcome, notices)
        self._tools.metrics.ended(outcome)
        log.info(
            "development_ended",
            status=outcome.status,
            outcome=outcome.kind,
            error=outcome.error_message,
            cost_usd=outcome.cost_usd,
            seconds=outcome.duration_seconds,
        )

    async def _keep_lease(self, claim: Claim) -> None:
        """Renew until the claim is lost, or may be: raises `LeaseLostError`, and nobody may act on it any more."""
        lease = self._tools.settings.lease_seconds
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(lease / _RENEWALS_A_LEASE)
            try:
                asked = time.monotonic()
                async with asyncio.timeout(max(0.1, renewed + lease - asked)):
                    await self._tools.developments.renew(claim)
                renewed = asked
            except (UnavailableError, TimeoutError) as error:
                if time.monotonic() - renewed >= lease:
                    raise LeaseLostError("the lease ran out while the database was away") from error

    async def _cancelling(self, execution: Execution, claim: Claim, running: asyncio.Task[None]) -> str:
        """Wait until somebody wants the run to be stopped, and stop it; who it was."""
        while True:
            with suppress(UnavailableError):
                by = await self._tools.developments.cancelled_by(claim)
                # Nothing of the run can happen between this look at it and its cancellation.
                if by is not None and not execution.publishing and running.cancel():
                    log.info("development_cancel_seen")
                    return by
            await asyncio.sleep(_CANCEL_SECONDS)

    async def _stopping(self, execution: Execution) -> None:
        await self._stop.wait()
        if execution.publishing:
            await asyncio.sleep(self._tools.settings.shutdown_seconds)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
