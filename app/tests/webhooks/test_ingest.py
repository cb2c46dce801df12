"""Group commit."""

import asyncio
from collections.abc import Sequence

import pytest
from pymongo import monitoring

from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult
from sdlc_agents.webhooks.ingest import GroupCommit
from sdlc_agents.webhooks.repository import WebhookRepository
from support.backends import EveryService
from support.webhook_service import event


class Inserts(monitoring.CommandListener):
    """Counts the inserts that MongoDB is sent, and the documents of each."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.concerns: list[object] = []

    def started(self, started: monitoring.CommandStartedEvent) -> None:
        if started.command_name == "insert":
            self.sizes.append(len(started.command["documents"]))
            self.concerns.append(started.command["writeConcern"])

    def succeeded(self, _event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, _event: monitoring.CommandFailedEvent) -> None:
        pass


async def test_many_requests_share_few_durable_inserts(db: Database, every_service: EveryService) -> None:
    listener = Inserts()
    async with mongo.connect(every_service, application="tests", event_listeners=[listener]) as client:
        repository = WebhookRepository(mongo.database(client, every_service), "tests")
        async with GroupCommit(repository.store, max_batch=100) as ingest:
            outcomes = await asyncio.gather(*(ingest.store(event()) for _ in range(300)))
    assert outcomes == [StoreResult.STORED] * 300
    assert await db["webhook_events"].count_documents({}) == 300
    assert sum(listener.sizes) == 300
    assert len(listener.sizes) <= 10
    assert max(listener.sizes) <= 100
    assert all(concern == {"w": "majority", "j": True} for concern in listener.concerns)


async def test_a_duplicate_in_a_batch_does_not_stop_the_others(db: Database) -> None:
    repository = WebhookRepository(db, "tests")
    assert await repository.store([event("a")]) == [StoreResult.STORED]
    outcomes = await repository.store([event("b"), event("a"), event("c"), event("c")])
    assert outcomes == [StoreResult.STORED, StoreResult.DUPLICATE, StoreResult.STORED, StoreResult.DUPLICATE]
    assert await db["webhook_events"].count_documents({}) == 3


async def test_a_document_that_the_validator_refuses_fails_alone(db: Database) -> None:
    repository = WebhookRepository(db, "tests")
    refused, fine = await repository.store([event(issue_key="not a key"), event()])
    assert isinstance(refused, UnavailableError)
    assert fine is StoreResult.STORED


async def test_a_lonely_request_is_written_at_once() -> None:
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    async def write(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        started.set()
        return [StoreResult.STORED] * len(events)

    async with GroupCommit(write) as ingest:
        await asyncio.sleep(0)  # it runs, and waits for the first
        stopped_at = loop.time()
        with pytest.MonkeyPatch.context() as patch:
            # Time stands still: a wait for a time would never end.
            patch.setattr(loop, "time", lambda: stopped_at)
            request = asyncio.create_task(ingest.store(event()))
            for _ in range(5):
                await asyncio.sleep(0)
            assert started.is_set()
        assert await request is StoreResult.STORED


async def test_requests_that_come_during_a_write_share_the_next_one() -> None:
    sizes: list[int] = []
    under_way, gate = asyncio.Event(), asyncio.Event()

    async def write(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        sizes.append(len(events))
        under_way.set()
        await gate.wait()
        return [StoreResult.STORED] * len(events)

    async with GroupCommit(write) as ingest:
        first = asyncio.create_task(ingest.store(event()))
        await under_way.wait()
        others = [asyncio.create_task(ingest.store(event())) for _ in range(5)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(first, *others) == [StoreResult.STORED] * 6
    assert sizes == [1, 5]


async def test_a_failed_write_fails_each_request_that_shared_it() -> None:
    async def write(_events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        raise UnavailableError("the database is not available")

    async with GroupCommit(write) as ingest:
        answers = await asyncio.gather(*(ingest.store(event()) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError] * 5


async def test_when_the_database_is_away_nobody_waits_for_another_batch_to_find_out() -> None:
    asked = 0

    async def write(_events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        nonlocal asked
        asked += 1
        raise UnavailableError("the database is not available")

    async with GroupCommit(write, max_batch=2) as ingest:
        answers = await asyncio.gather(*(ingest.store(event()) for _ in range(20)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError] * 20
    assert asked == 1


async def test_an_unexpected_error_is_answered_and_the_next_batch_goes_on() -> None:
    calls = 0

    async def write(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("a bug")
        return [StoreResult.STORED] * len(events)

    async with GroupCommit(write) as ingest:
        with pytest.raises(UnavailableError):
            await ingest.store(event())
        assert await ingest.store(event()) is StoreResult.STORED


async def test_past_the_bound_of_waiting_requests_the_next_is_told_to_come_back() -> None:
    gate = asyncio.Event()

    async def write(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        await gate.wait()
        return [StoreResult.STORED] * len(events)

    async with GroupCommit(write, max_batch=1, max_waiting=2) as ingest:
        requests = [asyncio.create_task(ingest.store(event())) for _ in range(6)]
        done, waiting = await asyncio.wait(requests, return_when=asyncio.FIRST_EXCEPTION)
        assert all(isinstance(task.exception(), UnavailableError) for task in done)
        gate.set()
        assert await asyncio.gather(*waiting) == [StoreResult.STORED] * len(waiting)
        assert len(waiting) in {2, 3}


async def test_leaving_writes_what_still_waits_and_takes_nothing_more() -> None:
    written: list[ReceivedEvent] = []

    async def write(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        written.extend(events)
        return [StoreResult.STORED] * len(events)

    ingest = GroupCommit(write)
    async with ingest:
        last = asyncio.create_task(ingest.store(event()))
        await asyncio.sleep(0)
    assert await last is StoreResult.STORED
    assert len(written) == 1
    with pytest.raises(UnavailableError):
        await ingest.store(event())


async def test_a_request_that_was_given_up_does_not_disturb_the_others() -> None:
    async def write(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        return [StoreResult.STORED] * len(events)

    async with GroupCommit(write) as ingest:
        gone = asyncio.create_task(ingest.store(event()))
        stays = asyncio.create_task(ingest.store(event()))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays is StoreResult.STORED
