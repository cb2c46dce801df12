"""However a run is broken off, what it does at its end is done: its workspace goes, its tokens end."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from sdlc_agents.consumer import worker as worker_module
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.consumer.run.execution import RunServices
from sdlc_agents.consumer.worker import Worker
from sdlc_agents.developments.model import Outcome, Status
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.waiting import to_the_end
from support.agents import Developments
from support.waiting import until


class Endless:
    """A run that waits for ever, and needs a while to clean up. It stands in for `Execution`."""

    def __init__(self) -> None:
        self.publishing = False
        self.steps: list[str] = []

    async def run(self) -> Outcome:
        """Wait, and clean up in two steps."""
        self.steps.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            self.steps.append("tokens ended")
            await asyncio.to_thread(self.steps.append, "workspace removed")
        raise AssertionError

    async def cancelled(self, by: str) -> Outcome:
        """As an execution tells it."""
        return Outcome(status=Status.CANCELLED, kind="cancelled", error_message=f"cancelled by {by}")


async def test_what_is_done_to_the_end_is_done_before_the_cancellation_goes_on() -> None:
    steps: list[str] = []
    begun = asyncio.Event()

    async def clean_up() -> str:
        begun.set()
        await asyncio.sleep(0.1)
        steps.append("cleaned up")
        return "done"

    task = asyncio.create_task(to_the_end(clean_up()))
    await begun.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps == ["cleaned up"]
    assert await to_the_end(clean_up()) == "done"


@pytest.mark.parametrize("way", ["cancelled", "stopped", "lease lost"])
async def test_a_run_that_is_broken_off_cleans_up_to_the_end(
    db: Database, developments: Developments, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    run = Endless()
    monkeypatch.setattr(worker_module, "Execution", lambda *_: run)
    repository = ClaimRepository(db, "a", lease_seconds=3, queued_grace_seconds=60)
    tools = SimpleNamespace(
        developments=repository,
        metrics=AgentMetrics(new_registry()),
        jira=None,
        settings=SimpleNamespace(lease_seconds=3, shutdown_seconds=8),
    )
    stop = asyncio.Event()
    development_id = await developments.queue()
    claim = await repository.claim(development_id)
    assert claim is not None
    working = asyncio.create_task(Worker(cast("RunServices", tools), stop).work(claim))

    async def begun() -> bool:
        return run.steps == ["begun"]

    await until(begun)
    changes = {
        "cancelled": {"cancel_requested_at": claim.accepted_at, "cancel_requested_by": "Ops key"},
        "stopped": {},
        "lease lost": {"lease.fence": claim.fence + 1},
    }
    if way == "stopped":
        stop.set()
    else:
        await db["developments"].update_one({"_id": development_id}, {"$set": changes[way]})
    async with asyncio.timeout(15):
        await working
    assert run.steps == ["begun", "tokens ended", "workspace removed"]
    status = {"cancelled": "cancelled", "stopped": "queued", "lease lost": "running"}[way]
    assert (await developments.get(development_id))["status"] == status
