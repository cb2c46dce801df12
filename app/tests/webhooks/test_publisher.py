"""The publisher: what the broker did not confirm was not published, whatever became of the connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import orjson
import pytest
import structlog
from prometheus_client import CollectorRegistry

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks import repository as storing
from sdlc_agents.webhooks.events import Event
from sdlc_agents.webhooks.outbox import Outbox
from sdlc_agents.webhooks.publisher import Publisher
from sdlc_agents.webhooks.repository import WebhookRepository
from support.backends import Broker, EveryService, MakeSettings
from support.proxy import CuttableProxy
from support.waiting import until
from support.webhook_service import event


@pytest.fixture
async def publisher(
    make_settings: MakeSettings, rabbitmq_proxy: CuttableProxy, broker: Broker
) -> AsyncIterator[Publisher]:
    """A publisher that reaches its broker through a relay."""
    del broker
    made = Publisher(make_settings(EveryService, rabbitmq_url=rabbitmq_proxy.url), application="tests")
    yield made
    rabbitmq_proxy.thaw()
    await made.close()


async def test_without_a_connection_nothing_is_published(publisher: Publisher) -> None:
    with pytest.raises(UnavailableError):
        await publisher.publish([event()])


async def test_what_is_not_confirmed_in_time_is_not_published_and_the_connection_is_given_up(
    publisher: Publisher, rabbitmq_proxy: CuttableProxy, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "CONFIRM_SECONDS", 0.3)
    monkeypatch.setattr(amqp, "CLOSE_SECONDS", 0.3)
    await publisher.connect()
    rabbitmq_proxy.freeze()
    began = time.monotonic()
    assert await publisher.publish([event("late")]) == []
    assert time.monotonic() - began < 5, "a broker that says no goodbye is not waited for"
    with pytest.raises(UnavailableError):
        await publisher.publish([event()])
    rabbitmq_proxy.thaw()
    monkeypatch.setattr(amqp, "CONFIRM_SECONDS", 10)
    await publisher.connect()
    again = event("again")
    assert await publisher.publish([again]) == [again]
    seen = [orjson.loads((await broker.next_message()).body)["development_id"] for _ in range(1)]
    while seen[-1] != again.development_id:  # the late one may have arrived after all: at least once
        seen.append(orjson.loads((await broker.next_message()).body)["development_id"])
    assert len(seen) <= 2


async def test_a_publish_that_was_given_up_leaves_a_publisher_that_counts_right(
    publisher: Publisher, rabbitmq_proxy: CuttableProxy
) -> None:
    await publisher.connect()
    rabbitmq_proxy.freeze()
    given_up = asyncio.create_task(publisher.publish([event()]))
    await asyncio.wait({given_up}, timeout=0.2)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    rabbitmq_proxy.thaw()
    with pytest.raises(UnavailableError):
        await publisher.publish([event()])
    await publisher.connect()
    sent = [event() for _ in range(3)]
    assert await publisher.publish(sent) == sent


async def test_a_connection_attempt_that_is_given_up_ends(publisher: Publisher, rabbitmq_proxy: CuttableProxy) -> None:
    rabbitmq_proxy.freeze()
    connecting = asyncio.create_task(publisher.connect())
    await asyncio.wait({connecting}, timeout=0.2)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    rabbitmq_proxy.thaw()
    await publisher.connect()


async def test_an_unexpected_error_is_logged_and_the_event_goes_out_all_the_same(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    class Failing(Publisher):
        """Has a bug in its first call."""

        calls = 0

        async def publish(self, events: Sequence[Event]) -> list[Event]:
            self.calls += 1
            if self.calls == 1:
                raise ValueError("a bug")
            return await super().publish(events)

    failing = Failing(every_service, application="tests")
    outbox = Outbox(WebhookRepository(db, "same"), failing, CollectorRegistry(auto_describe=True))
    stop = asyncio.Event()
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(outbox.run(stop))
        stored = event()
        await outbox.store([stored])
        message = await broker.next_message()
        stop.set()
        await running
    await failing.close()
    assert orjson.loads(message.body)["development_id"] == stored.development_id
    assert [entry["event"] for entry in logs].count("outbox_round_failed") == 1


async def test_long_descriptions_are_claimed_a_few_at_a_time_and_all_go_out(
    every_service: EveryService, db: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "CLAIM_CHARACTERS", 1)
    repository = WebhookRepository(db, "same")
    await repository.store([event() for _ in range(5)])
    assert len(await repository.claim(10)) == 2
    publisher = Publisher(every_service, application="tests")
    outbox = Outbox(repository, publisher, CollectorRegistry(auto_describe=True))
    stop = asyncio.Event()
    running = asyncio.create_task(outbox.run(stop))

    async def published() -> bool:
        return await db["webhook_events"].count_documents({"state": "published"}) == 5

    await until(published)
    stop.set()
    await running
    await publisher.close()
    found = {orjson.loads((await broker.next_message()).body)["development_id"] for _ in range(5)}
    assert len(found) == 5


async def test_a_development_that_the_database_refuses_is_an_error(db: Database) -> None:
    repository = WebhookRepository(db, "same")
    with pytest.raises(UnavailableError):
        await repository.queue_developments([event(issue_key="not a key")])
    assert await db["developments"].count_documents({}) == 0
