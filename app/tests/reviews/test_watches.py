"""What the database keeps of a pull request: one looks at a time, and a follow-up is queued once or not at all."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import WriteError

from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.developments.model import FollowUp, ReviewComment
from sdlc_agents.forges.model import Comment
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.reviews.repository import Watch, WatchRepository
from support.agents import Developments

URL = "https://git.example/o/r/pulls/7"
COMMENT = Comment("comment-1", "kim", "@sdlc-bot go on", now() + timedelta(hours=1))


def follow_up(of: str, **given: Any) -> FollowUp:
    values: dict[str, Any] = {
        "pull_request_number": 7,
        "pull_request_url": URL,
        "of": of,
        "requested_by": "kim",
        "comments": (ReviewComment("kim", "@sdlc-bot go on", "a.py", 3),),
    }
    return FollowUp(**{**values, **given})


async def completed(
    db: Database, developments: Developments, *, url: str = URL, number: int = 1, days_ago: float = 0, **given: Any
) -> str:
    development_id = await developments.queue("Because.", number=number)
    values: dict[str, Any] = {"status": "completed", "pr_mr_url": url, "repository_url": "https://git.example/o/r"}
    values["pr_mr_number"] = int(url.rpartition("/")[2])
    values |= {"branch_name": "feature/X", "completed_at": now() - timedelta(days=days_ago), **given}
    await db["developments"].update_one({"_id": development_id}, {"$set": values})
    return development_id


async def watched(db: Database, developments: Developments, *owners: str) -> list[WatchRepository]:
    await completed(db, developments)
    repositories = [WatchRepository(db, owner) for owner in owners]
    await repositories[0].watch(await repositories[0].newest([developments.project_key], 30))
    return repositories


async def claimed(repository: WatchRepository, lease: float = 60) -> Watch:
    watch = await repository.claim([URL], lease)
    assert watch is not None
    return watch


async def follow_ups(db: Database) -> list[dict[str, Any]]:
    return await db["developments"].find({"kind": "follow_up"}).to_list()


async def test_the_newest_pull_request_of_each_ticket_and_repository_is_watched(
    db: Database, developments: Developments
) -> None:
    # Identifiers grow with time; those of the tests do not, so the greater one is the newer.
    by_id = {
        await completed(db, developments, url="https://git.example/o/r/pulls/1"): "1",
        await completed(db, developments, url="https://git.example/o/r/pulls/2"): "2",
    }
    other = "https://git.example/o/other"
    await completed(db, developments, url=f"{other}/pulls/3", repository_url=other)
    await completed(db, developments, url="https://git.example/o/r/pulls/4", number=2)
    await completed(db, developments, url="https://git.example/o/r/pulls/5", number=3, days_ago=31)
    await completed(db, developments, url="https://git.example/o/r/pulls/6", number=4, status="failed")
    found = await WatchRepository(db, "a").newest([developments.project_key], 30)
    assert {document["pr_mr_url"].rpartition("/")[2] for document in found} == {"3", "4", by_id[max(by_id)]}


async def test_a_watch_that_an_older_release_made_during_an_upgrade_gets_its_number(
    db: Database, developments: Developments
) -> None:
    (repository,) = await watched(db, developments, "a")
    await db["pull_request_watches"].update_one({"_id": URL}, {"$unset": {"number": ""}})
    await repository.watch(await repository.newest([developments.project_key], 30))
    assert (await claimed(repository)).number == 7


async def test_a_pull_request_without_a_known_number_is_not_watched(db: Database, developments: Developments) -> None:
    development_id = await completed(db, developments)
    await db["developments"].update_one({"_id": development_id}, {"$unset": {"pr_mr_number": ""}})
    assert await WatchRepository(db, "a").newest([developments.project_key], 30) == []


async def test_of_many_who_look_at_once_one_does(db: Database, developments: Developments) -> None:
    repositories = await watched(db, developments, *(f"c{number}" for number in range(10)))
    claims = await asyncio.gather(*(repository.claim([URL], 60) for repository in repositories))
    assert len([claim for claim in claims if claim is not None]) == 1


async def test_who_was_away_too_long_starts_nothing(db: Database, developments: Developments) -> None:
    one, other = await watched(db, developments, "a", "b")
    stale = await claimed(one, lease=0)
    fresh = await claimed(other)
    handled = stale.handled.with_([COMMENT])
    assert await one.start(stale, follow_up(stale.development_id), handled, again_in=1) is None
    await one.looked(stale, stale.handled, again_in=0, closed=True)
    assert await follow_ups(db) == []
    assert await other.start(fresh, follow_up(fresh.development_id), handled, again_in=1) is not None


async def test_a_follow_up_is_queued_with_the_note_that_its_comments_are_handled(
    db: Database, developments: Developments
) -> None:
    (repository,) = await watched(db, developments, "a")
    watch = await claimed(repository)
    handled = watch.handled.with_([COMMENT])
    development_id = await repository.start(watch, follow_up(watch.development_id), handled, again_in=0)
    (document,) = await follow_ups(db)
    assert (document["_id"], document["status"]) == (development_id, "queued")
    assert (await claimed(repository)).handled.covers(COMMENT)
    consumer = ClaimRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)
    assert await consumer.one_is_due(), "nobody would look at it for a minute"
    claim = await consumer.claim_any()
    assert claim is not None
    assert claim.follow_up == follow_up(watch.development_id)
    assert claim.repository_url == "https://git.example/o/r"


async def test_when_the_follow_up_cannot_be_stored_its_comments_are_not_handled(
    db: Database, developments: Developments
) -> None:
    (repository,) = await watched(db, developments, "a")
    watch = await claimed(repository, lease=0)
    impossible = follow_up(watch.development_id, pull_request_number="seven")
    with pytest.raises(WriteError):
        await repository.start(watch, impossible, watch.handled.with_([COMMENT]), again_in=0)
    assert await follow_ups(db) == []
    assert not (await claimed(repository)).handled.covers(COMMENT)


@pytest.mark.parametrize("status", ["queued", "running"])
async def test_while_the_ticket_is_worked_on_comments_are_left_for_later(
    db: Database, developments: Developments, status: str
) -> None:
    (repository,) = await watched(db, developments, "a")
    busy = await developments.queue()
    await db["developments"].update_one({"_id": busy}, {"$set": {"status": status}})
    watch = await claimed(repository)
    handled = watch.handled.with_([COMMENT])
    assert await repository.start(watch, follow_up(watch.development_id), handled, again_in=0) is None
    assert not (await claimed(repository)).handled.covers(COMMENT)


async def test_a_closed_one_is_looked_at_again_when_a_newer_run_led_to_it(
    db: Database, developments: Developments
) -> None:
    (repository,) = await watched(db, developments, "a")
    watch = await claimed(repository)
    await repository.looked(watch, watch.handled.with_([COMMENT]), again_in=0, closed=True)
    found = await repository.newest([developments.project_key], 30)
    await repository.watch(found)
    assert await repository.claim([URL], 60) is None
    await repository.watch([{**found[0], "development_id": "newer"}])
    again = await claimed(repository)
    assert again.development_id == "newer"
    assert again.handled.covers(COMMENT)


async def test_a_watch_that_is_released_is_free_at_once_and_keeps_what_was_written(
    db: Database, developments: Developments
) -> None:
    one, other = await watched(db, developments, "a", "b")
    watch = await claimed(one)
    assert await one.start(watch, follow_up(watch.development_id), watch.handled.with_([COMMENT]), again_in=0)
    await one.release(watch)
    assert (await claimed(other)).handled.covers(COMMENT)
    await one.release(watch)
    assert await one.claim([URL], 60) is None, "it was another's by then"


async def test_a_forge_that_is_away_is_left_alone_as_a_whole(db: Database, developments: Developments) -> None:
    (repository,) = await watched(db, developments, "a")
    await repository.postpone("https://other.example", 60)
    watch = await claimed(repository)
    await repository.looked(watch, watch.handled, again_in=0)
    await repository.postpone("https://git.example", 60)
    assert await repository.claim([URL], 60) is None
