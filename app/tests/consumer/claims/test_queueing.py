"""A ticket has one run at a time; further activations wait behind it, and hold up nobody else."""

import asyncio

import pytest
from pymongo.errors import DuplicateKeyError

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.developments.model import Outcome, Status
from sdlc_agents.kernel.mongo import Database
from support.agents import Developments, StartConsumer
from support.waiting import until
from support.world import World, bash

DONE = Outcome(status=Status.COMPLETED, kind="pull_request", pr_mr_url="https://git.example/1")
CANCELLED = Outcome(status=Status.CANCELLED, kind="cancelled", error_message="cancelled by Ops key")


def repository(db: Database, owner: str = "a") -> ClaimRepository:
    return ClaimRepository(db, owner, lease_seconds=30, queued_grace_seconds=60)


async def next_claim(db: Database, owner: str = "b", seconds: float = 2) -> Claim:
    """What an idle consumer claims that no message tells of, within the time that the second run may take to begin."""
    claims: list[Claim] = []

    async def claimed() -> bool:
        claim = await repository(db, owner).claim_any()
        claims.extend([claim] if claim is not None else [])
        return claim is not None

    await until(claimed, seconds)
    return claims[0]


async def test_the_database_itself_allows_one_run_a_ticket(db: Database, developments: Developments) -> None:
    for _ in range(2):
        await developments.queue()
    with pytest.raises(DuplicateKeyError):
        await db["developments"].update_many(
            {"jira_project_key": developments.project_key}, {"$set": {"status": "running"}}
        )


@pytest.mark.parametrize("outcome", [DONE, CANCELLED], ids=["completed", "cancelled"])
async def test_what_waits_begins_when_the_first_has_ended_in_the_order_it_came(
    db: Database, developments: Developments, outcome: Outcome
) -> None:
    first, second, third = [await developments.queue() for _ in range(3)]
    claim = await repository(db).claim(first)
    assert claim is not None
    for waiting in (third, second):
        assert await repository(db, "b").claim(waiting) is None
    for expected in (second, third):
        assert await repository(db, "b").claim_any() is None, "beside a run of its ticket"
        await repository(db).finish(claim, outcome, [])
        # At once, without a look that comes later.
        begun = await repository(db).claim_any()
        assert begun is not None
        assert begun.development_id == expected
        claim = begun


async def test_a_message_takes_its_tickets_oldest_and_leaves_its_own_to_be_found(
    db: Database, developments: Developments
) -> None:
    first, second = [await developments.queue() for _ in range(2)]
    claim = await repository(db).claim(second)
    assert claim is not None
    assert claim.development_id == first
    assert await repository(db).claim(first) is None, "the older one's message, which comes late"
    await repository(db).finish(claim, DONE, [])
    assert (await next_claim(db)).development_id == second


async def test_another_ticket_is_not_held_up(db: Database, developments: Developments) -> None:
    first = await developments.queue(number=1)
    assert await repository(db).claim(first) is not None
    waiting = [await developments.queue(number=1) for _ in range(3)]
    for development_id in waiting:
        assert await repository(db, "b").claim(development_id) is None
    again = await developments.queue(number=2)
    await db["developments"].update_one({"_id": again}, [{"$set": {"retry_requested_at": "$$NOW"}}])
    assert (await next_claim(db)).development_id == again


async def test_what_waits_is_put_off_and_not_looked_at_again_and_again(
    db: Database, developments: Developments
) -> None:
    first, second = [await developments.queue() for _ in range(2)]
    assert await repository(db).claim(first) is not None
    assert await repository(db, "b").claim(second) is None
    assert not await repository(db, "b").one_is_due()

    async def due() -> bool:
        return await repository(db, "b").one_is_due()

    await until(due, 15)
    assert await repository(db, "b").claim_any() is None
    assert not await repository(db, "b").one_is_due()


async def test_the_second_waits_for_a_lost_first_to_be_taken_over(db: Database, developments: Developments) -> None:
    first, second = [await developments.queue() for _ in range(2)]
    lost = await repository(db).claim(first)
    assert lost is not None
    assert await repository(db, "b").claim(second) is None
    await db["developments"].update_one(
        {"_id": first}, [{"$set": {"lease.expires_at": {"$subtract": ["$$NOW", 1000]}}}]
    )
    assert await repository(db, "b").claim(second) is None
    taken = await next_claim(db)
    assert (taken.development_id, taken.fence) == (first, lost.fence + 1)
    await repository(db, "b").finish(taken, DONE, [])
    assert (await next_claim(db)).development_id == second


async def test_what_is_handed_back_goes_before_what_waited_for_it(db: Database, developments: Developments) -> None:
    first, second = [await developments.queue() for _ in range(2)]
    claim = await repository(db).claim(first)
    assert claim is not None
    assert await repository(db, "b").claim(second) is None
    await repository(db).hand_back(claim)
    again = await next_claim(db)
    assert (again.development_id, again.attempt) == (first, 1)


async def test_of_many_consumers_and_activations_one_run_at_a_time_comes_out(
    db: Database, developments: Developments
) -> None:
    ids = [await developments.queue() for _ in range(6)]
    begun: list[str] = []

    async def consume(name: str) -> None:
        mine = repository(db, name)
        for development_id in ids:  # each hears of each
            claim = await mine.claim(development_id)
            if claim is not None:
                await end(mine, claim)
        while len(begun) < len(ids):
            claim = await mine.claim_any()
            if claim is not None:
                await end(mine, claim)
            await asyncio.sleep(0.05)

    async def end(mine: ClaimRepository, claim: Claim) -> None:
        running = await db["developments"].count_documents({"status": "running"})
        assert running == 1
        begun.append(claim.development_id)  # before it ends: from then on the next may begin
        await mine.finish(claim, DONE, [])

    async with asyncio.timeout(30):
        await asyncio.gather(*(consume(f"c{number}") for number in range(4)))
    assert begun == ids


@pytest.mark.timeout(180)
async def test_a_second_activation_begins_after_the_first_and_on_top_of_it(
    world: World, start_consumer: StartConsumer
) -> None:
    forge = await world.repository()
    await world.runners.start()
    slow = {"AGENT_TIMEOUT_SECONDS": "120", "SWEEP_SECONDS": "60"}
    async with start_consumer("consumer-1", **slow), start_consumer("consumer-2", **slow):
        go_on = world.directory / "go-on"
        first = await world.queue(bash(f"until [ -e {go_on} ]; do sleep 0.1; done; echo one > one.txt"))
        await world.until_running(first)
        second = await world.queue(bash("cat one.txt && echo two > two.txt"))
        other = await world.queue(bash("echo other > other.txt"), number=2)
        elsewhere = await world.developments.ended(other)
        assert (await world.developments.get(first))["status"] == "running", "the other ticket was held up"
        assert (await world.developments.get(second))["status"] == "queued"
        go_on.touch()
        one = await world.developments.ended(first)
        two = await world.developments.ended(second)
    assert [document["status"] for document in (one, two, elsewhere)] == ["completed"] * 3, two["error_message"]
    assert (two["timings"]["claimed_at"] - one["completed_at"]).total_seconds() < 2
    assert two["timings"]["claimed_at"] >= one["timings"]["published_at"]
    assert two["pr_mr_url"] == one["pr_mr_url"]
    assert await forge.content("two.txt", two["branch_name"]) == "two\n"
    assert two["attempts"] == 1
    assert await world.waiting_messages() == 0
