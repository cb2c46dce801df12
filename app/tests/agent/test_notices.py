"""Who is told of an end, how often, and what stands in nobody's way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from aio_pika.abc import AbstractChannel
from pydantic import SecretStr

from sdlc_agents.agent.development import Outcome
from sdlc_agents.agent.notices import ErrorQueue, Notices
from sdlc_agents.agent.repository import DevelopmentRepository
from sdlc_agents.mongo import Database
from sdlc_agents.trackers.jira import Jira
from support.agents import Developments
from support.backends import Broker

FAILED = Outcome(status="failed", kind="x", error_message="It went wrong.", cost_usd=0.5, turns=3)


@pytest.fixture
def repository(db: Database) -> DevelopmentRepository:
    return DevelopmentRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)


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
    async def channel() -> AbstractChannel:
        return broker.channel

    return ErrorQueue(channel)


async def end(repository: DevelopmentRepository, developments: Developments, number: int, *notices: str) -> str:
    claim = await repository.claim(await developments.queue(number=number))
    assert claim is not None
    await repository.finish(claim, FAILED, notices)
    return claim.development_id


async def state(developments: Developments, development_id: str) -> Any:
    return (await developments.get(development_id))["notices"]


async def test_a_failure_is_reported_to_the_error_queue_once(
    repository: DevelopmentRepository, developments: Developments, errors: ErrorQueue, broker: Broker
) -> None:
    development_id = await end(repository, developments, 1, "error_queue")
    for _ in range(2):
        await Notices(repository, errors, None).send()
    report = orjson.loads((await broker.next_message(broker.develop_error)).body)
    assert report["error"] == "It went wrong."
    assert report["original_message"]["development_id"] == development_id
    assert await state(developments, development_id) == {"error_queue": "done"}
    assert await broker.develop_error.get(fail=False) is None


async def test_of_several_consumers_that_find_a_notice_one_sends_it(
    repository: DevelopmentRepository, developments: Developments, errors: ErrorQueue, broker: Broker
) -> None:
    await end(repository, developments, 1, "error_queue")
    await asyncio.gather(*(Notices(repository, errors, None).send() for _ in range(5)))
    await broker.next_message(broker.develop_error)
    assert await broker.develop_error.get(fail=False) is None


async def test_a_ticket_that_is_gone_is_not_told_again_and_a_jira_that_is_away_later(
    repository: DevelopmentRepository, developments: Developments, errors: ErrorQueue, http: httpx.AsyncClient
) -> None:
    gone = await end(repository, developments, 1, "ticket")
    away = await end(repository, developments, 2, "ticket", "error_queue")
    jira = Jira("https://jira.example", SecretStr("t"), None, http)
    await Notices(repository, errors, jira).send()
    assert await state(developments, gone) == {"ticket": "refused"}
    assert await state(developments, away) == {"ticket": "pending", "error_queue": "done"}
    assert await repository.take_untold() is None, "it would be asked again at once"


async def test_without_a_jira_nothing_waits_for_one(
    repository: DevelopmentRepository, developments: Developments, errors: ErrorQueue
) -> None:
    development_id = await end(repository, developments, 1, "ticket")
    await Notices(repository, errors, None).send()
    assert await state(developments, development_id) == {"ticket": "done"}
