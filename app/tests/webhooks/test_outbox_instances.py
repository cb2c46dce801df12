"""The outbox with what a real broker does at its worst, and with several webhook APIs at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Self

import orjson
import pytest
from prometheus_client import CollectorRegistry

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult
from sdlc_agents.webhooks.outbox import BACKOFF_SECONDS, Outbox
from sdlc_agents.webhooks.publisher import Publisher
from sdlc_agents.webhooks.repository import LEASE, WebhookRepository
from support.backends import Broker, EveryService, MakeSettings
from support.proxy import CuttableProxy
from support.waiting import until
from support.webhook_service import event as event_of_project_t


def event(issue_key: str = "T-1") -> ReceivedEvent:
    """An event of its own, of the ticket's project."""
    made = event_of_project_t(issue_key=issue_key)
    return replace(made, delivery=replace(made.delivery, jira_project_key=issue_key.partition("-")[0]))


class Instance:
    """One webhook API's outbox, running in this process as `owner`."""

    def __init__(self, db: Database, settings: EveryService, owner: str, *, sweep_seconds: float = 0.2) -> None:
        self.publisher = Publisher(settings, application=owner)
        self.repository = WebhookRepository(db, owner)
        self.registry = CollectorRegistry(auto_describe=True)
        self.outbox = Outbox(self.repository, self.publisher, self.registry, sweep_seconds=sweep_seconds)
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.outbox.run(self._stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._running is not None
        await self._running
        await self.publisher.close()

    async def store(self, events: Sequence[ReceivedEvent]) -> None:
        outcomes = await self.outbox.store(events)
        assert set(outcomes) == {StoreResult.STORED}

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(name) or 0.0


async def published(db: Database, number: int) -> None:
    async def all_are() -> bool:
        return await db["webhook_events"].count_documents({"state": "published"}) == number

    await until(all_are, seconds=30)


async def messages(broker: Broker) -> list[str]:
    """The development ids of all messages in the queue, in order; they are taken."""
    received = []
    while (message := await broker.develop.get()) is not None:
        received.append(orjson.loads(message.body)["development_id"])
    return received


async def test_a_message_that_was_returned_and_acknowledged_is_not_published_and_goes_out_later(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    await broker.develop.unbind(amqp.EXCHANGE, amqp.routing_key("*"))
    await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("T"))
    routable, unroutable = event("T-1"), event("U-1")
    async with Instance(db, every_service, "one") as one:
        await one.store([unroutable, routable])
        await published(db, 1)
        assert await messages(broker) == [routable.development_id]
        await until(lambda: _true(one.metric("sdlc_publish_failures_total") >= 1))
        stored = await db["webhook_events"].find_one({"_id": unroutable.id})
        assert stored is not None
        assert stored["state"] == "stored"
        await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("U"))
        await published(db, 2)
        assert await messages(broker) == [unroutable.development_id]


async def test_the_connection_that_returned_a_message_takes_the_next_ones(
    every_service: EveryService, broker: Broker
) -> None:
    publisher = Publisher(every_service, application="tests")
    await publisher.connect()
    batch = [event(f"{key}-1") for key in ("T", "U", "V")]
    await broker.develop.unbind(amqp.EXCHANGE, amqp.routing_key("*"))
    await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("U"))
    assert await publisher.publish(batch) == [batch[1]]
    await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("*"))
    assert await publisher.publish(batch) == batch
    await publisher.close()


async def test_a_ticket_s_later_event_waits_for_the_earlier_one_that_was_returned(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    await broker.develop.unbind(amqp.EXCHANGE, amqp.routing_key("*"))
    first, second = event("T-1"), event("T-1")
    async with Instance(db, every_service, "one") as one:
        await one.store([first, second])
        await until(lambda: _true(one.metric("sdlc_publish_failures_total") >= 2))
        await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("*"))
        await published(db, 2)
    assert await messages(broker) == [first.development_id, second.development_id]


async def test_two_webhook_apis_at_once_publish_each_event_once(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    orphans = [event(f"T-{number}") for number in range(60)]
    await WebhookRepository(db, "dead").store(orphans)
    await db["webhook_events"].update_many({}, {"$set": {"publish_lease_until": now() - LEASE}})
    own = [event(f"T-{number}") for number in range(60, 260)]
    async with Instance(db, every_service, "one") as one, Instance(db, every_service, "two") as two:
        for start in range(0, len(own), 20):
            await asyncio.gather(one.store(own[start : start + 10]), two.store(own[start + 10 : start + 20]))
        await published(db, 260)
    counted = Counter(await messages(broker))
    assert counted == Counter(stored.development_id for stored in (*orphans, *own))


async def test_two_webhook_apis_publish_each_event_at_least_once_when_their_broker_comes_and_goes(
    rabbitmq_proxy: CuttableProxy, make_settings: MakeSettings, db: Database, broker: Broker
) -> None:
    settings = make_settings(EveryService, rabbitmq_url=rabbitmq_proxy.url)
    events = [event(f"T-{number}") for number in range(120)]
    async with Instance(db, settings, "one") as one, Instance(db, settings, "two") as two:
        for start in range(0, len(events), 30):
            await one.store(events[start : start + 15])
            await rabbitmq_proxy.cut()
            await two.store(events[start + 15 : start + 30])
            await rabbitmq_proxy.mend()
        await published(db, len(events))
    assert set(await messages(broker)) == {stored.development_id for stored in events}


async def test_a_broker_that_is_away_is_asked_more_and_more_rarely(make_settings: MakeSettings, db: Database) -> None:
    attempts: list[float] = []

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        writer.transport.abort()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = make_settings(EveryService, rabbitmq_url=f"amqp://guest:guest@127.0.0.1:{port}/")
    async with Instance(db, settings, "one") as one:
        await one.store([event()])
        await until(lambda: _true(len(attempts) >= 4))
    server.close()
    gaps = [later - earlier for earlier, later in pairwise(attempts[:4])]  # a stop is a fifth, at any time
    assert all(gap >= wait for gap, wait in zip(gaps, BACKOFF_SECONDS, strict=False)), gaps


async def test_what_a_dead_process_left_goes_out_also_while_tickets_keep_coming(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    del broker
    left = event("LEFT-1")
    async with Instance(db, every_service, "one", sweep_seconds=0.5) as one:
        await one.store([event("T-0")])
        await published(db, 1)  # it has caught up: from here on it works from memory
        await WebhookRepository(db, "dead").store([left])
        await db["webhook_events"].update_one({"_id": left.id}, {"$set": {"publish_lease_until": now() - LEASE}})
        number = 0

        async def gone_out() -> bool:
            nonlocal number
            number += 1
            await one.store([event(f"T-{number}")])
            found = await db["webhook_events"].find_one({"_id": left.id})
            return found is not None and found["state"] == "published"

        await until(gone_out)
    assert number > 1


async def test_a_process_that_takes_more_than_it_may_hold_publishes_all_from_the_database_in_order(
    every_service: EveryService, db: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdlc_agents.webhooks.outbox.MEMORY", 10)
    instance = Instance(db, every_service, "one")
    events = [event("T-1") for _ in range(35)]
    for start in range(0, len(events), 5):
        await instance.store(events[start : start + 5])
    async with instance:
        await published(db, len(events))
    assert await messages(broker) == [stored.development_id for stored in events]


async def _true(value: bool) -> bool:  # noqa: FBT001
    return value
