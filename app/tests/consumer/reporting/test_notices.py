"""Who is told of an end, how often, and what stands in nobody's way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.error_queue import ErrorQueue
from sdlc_agents.consumer.reporting import notices as module
from sdlc_agents.consumer.reporting.links import ConfigurationApi
from sdlc_agents.consumer.reporting.notices import Notices
from sdlc_agents.developments.model import Notice, Outcome, Status
from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.trackers.jira import Jira
from support.agents import Developments, RunnerProcesses, StartConsumer
from support.backends import Broker
from support.queues import publish
from support.waiting import until

FAILED = Outcome(status=Status.FAILED, kind="x", error_message="It went wrong.", cost_usd=0.5, turns=3)


@pytest.fixture
def repository(db: Database) -> ClaimRepository:
    return ClaimRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("-1/comment"):
            return httpx.Response(404)
        return httpx.Response(503)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        yield client


@pytest.fixture
def errors(broker: Broker) -> ErrorQueue:
    return ErrorQueue(broker.connection)


async def end(repository: ClaimRepository, developments: Developments, number: int, *notices: str) -> str:
    claim = await repository.claim(await developments.queue(number=number))
    assert claim is not None
    await repository.finish(claim, FAILED, [Notice(notice) for notice in notices])
    return claim.development_id


async def state(developments: Developments, development_id: str) -> Any:
    return (await developments.get(development_id))["notices"]


async def test_a_failure_is_reported_to_the_error_queue_once(
    repository: ClaimRepository, developments: Developments, errors: ErrorQueue, broker: Broker
) -> None:
    development_id = await end(repository, developments, 1, "error_queue")
    for _ in range(2):
        await Notices(repository, errors, None).send()
    report = orjson.loads((await broker.next_message(broker.develop_error)).body)
    assert report["error"] == "It went wrong."
    assert report["original_message"]["development_id"] == development_id
    assert await state(developments, development_id) == {"error_queue": "done"}
    assert await broker.develop_error.get() is None


async def test_of_several_consumers_that_find_a_notice_one_sends_it(
    repository: ClaimRepository, developments: Developments, errors: ErrorQueue, broker: Broker
) -> None:
    await end(repository, developments, 1, "error_queue")
    await asyncio.gather(*(Notices(repository, errors, None).send() for _ in range(5)))
    await broker.next_message(broker.develop_error)
    assert await broker.develop_error.get() is None


async def test_a_ticket_that_is_gone_is_not_told_again_and_a_jira_that_is_away_later(
    repository: ClaimRepository, developments: Developments, errors: ErrorQueue, http: httpx.AsyncClient
) -> None:
    gone = await end(repository, developments, 1, "ticket")
    away = await end(repository, developments, 2, "ticket", "error_queue")
    jira = Jira("https://jira.example", SecretStr("t"), None, http)
    await Notices(repository, errors, jira).send()
    assert await state(developments, gone) == {"ticket": "refused"}
    assert await state(developments, away) == {"ticket": "pending", "error_queue": "done"}
    assert await repository.take_untold() is None, "it would be asked again at once"


async def test_without_a_jira_nothing_waits_for_one(
    repository: ClaimRepository, developments: Developments, errors: ErrorQueue
) -> None:
    development_id = await end(repository, developments, 1, "ticket")
    await Notices(repository, errors, None).send()
    assert await state(developments, development_id) == {"ticket": "done"}


class OddForge:
    """In the place of `Answers`: a forge that answers JSON of another shape for one development."""

    def __init__(self, odd: str) -> None:
        self._odd = odd

    async def send(self, document: dict[str, Any]) -> None:
        if document["_id"] == self._odd:
            raise KeyError("id")


class BrokenOnce(ClaimRepository):
    """Fails the first look in a way that nobody foresaw."""

    broken = True

    async def take_untold(self) -> dict[str, Any] | None:
        if self.broken:
            self.broken = False
            raise KeyError("notices")
        return await super().take_untold()


def is_told(developments: Developments, development_id: str) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return "pending" not in (await state(developments, development_id)).values()

    return told


@asynccontextmanager
async def telling(notices: Notices) -> AsyncIterator[asyncio.Task[None]]:
    """The task beside a consumer's runs."""
    task = asyncio.create_task(notices.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_forge_that_answers_something_odd_keeps_nobody_else_waiting(
    repository: ClaimRepository, developments: Developments, errors: ErrorQueue
) -> None:
    ids = [await end(repository, developments, number, "pull_request") for number in (1, 2, 3)]
    odd, *others = sorted(ids)  # in the order in which they are told
    answers: Any = OddForge(odd)
    async with telling(Notices(repository, errors, None, answers, ConfigurationApi())) as task:
        for other in others:
            await until(is_told(developments, other))
        assert not task.done()
    assert await state(developments, odd) == {"pull_request": "pending"}
    assert await repository.take_untold() is None, "it would be asked again at once"


async def test_a_failure_that_nobody_foresaw_does_not_end_the_telling(
    db: Database, developments: Developments, errors: ErrorQueue
) -> None:
    repository = BrokenOnce(db, "c", lease_seconds=30, queued_grace_seconds=60)
    development_id = await end(repository, developments, 1, "ticket")
    async with telling(Notices(repository, errors, None)):
        await until(is_told(developments, development_id))


async def test_what_is_known_to_wait_is_told_at_once_and_at_the_end_once_more(
    repository: ClaimRepository,
    developments: Developments,
    errors: ErrorQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 3600)
    notices = Notices(repository, errors, None)
    async with telling(notices) as task:
        for number in (1, 2):
            development_id = await end(repository, developments, number, "ticket")
            notices.wake()
            await until(is_told(developments, development_id))
        last = await end(repository, developments, 3, "ticket")
        notices.end()
        async with asyncio.timeout(15):
            await task
        assert await is_told(developments, last)()


@asynccontextmanager
async def silent_jira() -> AsyncIterator[str]:
    """Accepts connections and says nothing; its address."""
    open_connections: set[asyncio.StreamWriter] = set()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in open_connections:
            writer.transport.abort()


@pytest.mark.timeout(120)
async def test_a_jira_that_says_nothing_stops_no_work_and_no_end(
    repository: ClaimRepository,
    developments: Developments,
    broker: Broker,
    runners: RunnerProcesses,
    start_consumer: StartConsumer,
) -> None:
    await runners.start()
    for number in range(1, 6):
        await end(repository, developments, number, "ticket")
    key = amqp.routing_key(developments.project_key)
    async with (
        silent_jira() as url,
        start_consumer(EGRESS_PROXY_URL="", JIRA_API_URL=url, JIRA_API_TOKEN="t") as consumer,
    ):
        # Nobody registered the project: both end at once, the second after the end of the first was to be told.
        for number in (6, 7):
            development_id = await developments.queue(number=number)
            await publish(broker.channel, orjson.dumps({"development_id": development_id}), amqp.EXCHANGE, key)
            assert (await developments.ended(development_id, 20))["outcome"] == "unknown_project"
        consumer.terminate()
        assert await consumer.ended(12) == 0
