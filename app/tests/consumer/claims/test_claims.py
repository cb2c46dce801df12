"""A development has one owner at a time, and the database says who."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from sdlc_agents.consumer.claims.claim import Claim, LeaseLostError
from sdlc_agents.consumer.claims.repository import DUE, ClaimRepository, untold
from sdlc_agents.developments import changes
from sdlc_agents.developments.model import Notice, Outcome, Status
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from support.agents import Developments
from support.waiting import until

DONE = Outcome(status=Status.COMPLETED, kind="pull_request", pr_mr_url="https://git.example/1")


def repository(db: Database, owner: str, *, lease: float = 30, grace: float = 60) -> ClaimRepository:
    return ClaimRepository(db, owner, lease_seconds=lease, queued_grace_seconds=grace)


async def claimed(db: Database, developments: Developments, owner: str, *, lease: float = 30) -> Claim:
    claim = await repository(db, owner, lease=lease).claim(await developments.queue())
    assert claim is not None
    return claim


async def expire(db: Database, claim: Claim) -> None:
    """Let the lease have run out."""
    ago = [{"$set": {"lease.expires_at": {"$subtract": ["$$NOW", 1000]}}}]
    await db["developments"].update_one({"_id": claim.development_id}, ago)


async def test_of_many_who_claim_at_once_one_wins(db: Database, developments: Developments) -> None:
    development_id = await developments.queue()
    claims = await asyncio.gather(*(repository(db, f"c{number}").claim(development_id) for number in range(20)))
    assert len([claim for claim in claims if claim is not None]) == 1
    assert (await developments.get(development_id))["status"] == "running"


async def test_a_held_development_is_nobody_elses(db: Database, developments: Developments) -> None:
    claim = await claimed(db, developments, "a")
    other = repository(db, "b", grace=0)
    assert await other.claim(claim.development_id) is None
    assert await other.claim_any() is None


async def test_a_lease_that_ran_out_is_taken_over_with_a_higher_fence(db: Database, developments: Developments) -> None:
    first = await claimed(db, developments, "a")
    await expire(db, first)
    second = await repository(db, "b").claim_any()
    assert second is not None
    assert (second.development_id, second.fence, second.attempt) == (first.development_id, first.fence + 1, 2)


async def test_whoever_lost_the_lease_can_write_nothing_more(db: Database, developments: Developments) -> None:
    first = await claimed(db, developments, "a")
    await expire(db, first)
    assert await repository(db, "a").claim(first.development_id) is not None  # even under the same name
    old = repository(db, "a")
    for write in (
        old.renew(first),
        old.note(first, changes.prompted("x")),
        old.finish(first, DONE, []),
        old.hand_back(first),
    ):
        with pytest.raises(LeaseLostError):
            await write
    assert (await developments.get(first.development_id))["prompt"] == ""


async def test_renewing_keeps_it(db: Database, developments: Developments) -> None:
    claim = await claimed(db, developments, "a", lease=1)
    await expire(db, claim)
    await repository(db, "a").renew(claim)
    assert await repository(db, "b").claim_any() is None


async def test_an_ended_development_is_never_taken_again(db: Database, developments: Developments) -> None:
    claim = await claimed(db, developments, "a")
    await repository(db, "a").finish(claim, DONE, [Notice.TICKET])
    other = repository(db, "b", grace=0)
    assert await other.claim(claim.development_id) is None
    assert await other.claim_any() is None
    stored = await developments.get(claim.development_id)
    assert (stored["status"], stored["pr_mr_url"], stored["notices"]) == (
        "completed",
        DONE.pr_mr_url,
        {"ticket": "pending"},
    )


async def test_what_is_handed_back_is_taken_at_once_and_the_attempt_does_not_count(
    db: Database, developments: Developments
) -> None:
    claim = await claimed(db, developments, "a")
    await repository(db, "a").hand_back(claim)
    assert (await developments.get(claim.development_id))["status"] == "queued"
    again = await repository(db, "b").claim_any()
    assert again is not None
    assert (again.attempt, again.fence) == (1, claim.fence + 1)


async def test_a_queued_development_whose_message_is_lost_is_taken_after_a_while(
    db: Database, developments: Developments
) -> None:
    young = await developments.queue()
    old = await developments.queue(number=2, age=timedelta(minutes=5))
    claim = await repository(db, "a").claim_any()
    assert claim is not None
    assert claim.development_id == old
    assert await repository(db, "a").claim_any() is None
    assert (await developments.get(young))["status"] == "queued"


async def test_text_that_looks_like_an_expression_is_stored_as_text(db: Database, developments: Developments) -> None:
    claim = await claimed(db, developments, "$owner")
    mine = repository(db, "$owner")
    await mine.note(claim, {**changes.placed("$lease.owner", claim.branch), **changes.prompted("$$ROOT")})
    await mine.finish(claim, Outcome(status=Status.FAILED, kind="x", error_message="$summary"), [])
    stored = await developments.get(claim.development_id)
    assert (stored["prompt"], stored["repository_url"], stored["error_message"]) == (
        "$$ROOT",
        "$lease.owner",
        "$summary",
    )


async def test_attempts_are_kept_also_those_of_lost_consumers(db: Database, developments: Developments) -> None:
    first = await claimed(db, developments, "a")
    await expire(db, first)
    second = await repository(db, "b").claim_any()
    assert second is not None
    await repository(db, "b").finish(second, DONE, [])
    log = (await developments.get(first.development_id))["attempts_log"]
    assert [(entry["attempt"], entry["outcome"], entry["cost_usd"]) for entry in log] == [
        (1, "consumer_lost", None),
        (2, "pull_request", 0.0),
    ]


async def test_no_more_than_the_last_hundred_attempts_are_kept(db: Database, developments: Developments) -> None:
    claim = await claimed(db, developments, "a")
    old = [{"attempt": number, "outcome": "x"} for number in range(150)]
    await db["developments"].update_one({"_id": claim.development_id}, {"$set": {"attempts_log": old}})
    await repository(db, "a").finish(claim, DONE, [])
    log = (await developments.get(claim.development_id))["attempts_log"]
    assert (len(log), log[0]["attempt"], log[-1]["outcome"]) == (100, 51, "pull_request")


async def test_the_look_for_retries_uses_its_index(db: Database, developments: Developments) -> None:
    for number in range(20):
        await developments.queue(number=number)
    plan = await db["developments"].find(DUE).explain()
    assert plan["executionStats"]["totalDocsExamined"] == 0


async def test_the_look_for_what_is_untold_uses_its_indexes(db: Database, developments: Developments) -> None:
    told = {"status": "completed", "completed_at": now(), "notices": {"ticket": "done", "started": "done"}}
    for number in range(20):
        await db["developments"].update_one({"_id": await developments.queue(number=number)}, {"$set": told})
    plan = await db["developments"].find(untold()).explain()
    assert plan["executionStats"]["totalDocsExamined"] == 0


async def test_what_was_cancelled_before_it_was_handed_back_is_known_to_the_next(
    db: Database, developments: Developments
) -> None:
    claim = await claimed(db, developments, "a")
    asked = {"cancel_requested_at": claim.accepted_at, "cancel_requested_by": "Ops key"}
    await db["developments"].update_one({"_id": claim.development_id}, {"$set": asked})
    await repository(db, "a").hand_back(claim)
    again = await repository(db, "b").claim_any()
    assert again is not None
    assert again.cancelled_by == "Ops key"


async def test_a_retry_is_told_how_the_attempt_before_it_ended(db: Database, developments: Developments) -> None:
    first = await claimed(db, developments, "a")
    assert first.previous_failure is None
    failed = Outcome(status=Status.FAILED, kind="no_change", error_message="the agent changed nothing")
    await repository(db, "a").finish(first, failed, [])
    again = {"$set": {"status": "queued", "retry_requested_at": first.accepted_at}}
    await db["developments"].update_one({"_id": first.development_id}, again)
    second = await repository(db, "b").claim_any()
    assert second is not None
    assert second.previous_failure == "no_change: the agent changed nothing"
    await expire(db, second)
    third = await repository(db, "c").claim_any()
    assert third is not None
    assert third.previous_failure == "consumer_lost: the consumer that had it was lost"


async def test_who_could_not_be_told_does_not_stand_before_those_who_were_not_tried(
    db: Database, developments: Developments
) -> None:
    owner = repository(db, "a")
    for number in range(3):
        claim = await owner.claim(await developments.queue(number=number))
        assert claim is not None
        await owner.finish(claim, DONE, [Notice.TICKET])
    tried: list[str] = []
    for _ in range(6):
        document = await owner.take_untold()
        assert document is not None
        tried.append(document["_id"])
        await owner.told(document, {}, again_in=0.001)
        await until(partial(due_again, db, document["_id"]))
    assert sorted(tried[:3]) == sorted(set(tried))


async def due_again(db: Database, development_id: str) -> bool:
    """Whether its time has come again."""
    query = {"_id": development_id, "$expr": {"$lt": ["$notice_after", "$$NOW"]}}
    return await db["developments"].find_one(query) is not None
