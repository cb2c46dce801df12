"""The outbox: what was stored goes out, whatever happens to the broker or to the process."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from prometheus_client import CollectorRegistry

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.outbox import Outbox
from sdlc_agents.webhooks.publisher import Publisher
from sdlc_agents.webhooks.repository import LEASE, WebhookRepository
from support.backends import Broker, EveryService, MakeSettings
from support.deliveries import ticket
from support.proxy import CuttableProxy
from support.queues import declare_exchange
from support.waiting import until
from support.webhook_service import StartService, event


async def states(db: Database) -> list[str]:
    return sorted([document["state"] async for document in db["webhook_events"].find()])


async def test_with_the_broker_away_tickets_are_accepted_and_go_out_later_in_order(
    rabbitmq_proxy: CuttableProxy, start_service: StartService, db: Database, broker: Broker, project_key: str
) -> None:
    service = await start_service(rabbitmq_url=rabbitmq_proxy.url)
    await service.checks["broker"]()
    await rabbitmq_proxy.cut()
    for summary in ("first", "second", "third"):
        response = await service.deliver(ticket(project_key, 1, {"summary": summary}))
        assert response.json()["status"] == "accepted"
    assert await states(db) == ["stored"] * 3
    await until(lambda: _is(service.metric("sdlc_outbox_events") == 3))
    await rabbitmq_proxy.mend()
    received = [orjson.loads((await broker.next_message()).body)["summary"] for _ in range(3)]
    assert received == ["first", "second", "third"]

    async def published() -> bool:
        return await states(db) == ["published"] * 3

    await until(published)


def _claimed_by(repository: WebhookRepository, number: int) -> Callable[[], Awaitable[bool]]:
    async def claimed() -> bool:
        return len(await repository.claim(10)) == number

    return claimed


async def _is(value: bool) -> bool:  # noqa: FBT001
    return value


async def test_what_a_dead_process_left_goes_out_when_its_lease_has_run_out(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    left = event("left")
    await WebhookRepository(db, "dead").store([left])
    living = WebhookRepository(db, "living")
    assert await living.claim(10) == []
    await db["webhook_events"].update_one({"_id": left.id}, {"$set": {"publish_lease_until": now() - LEASE}})
    await run_once(living, every_service)
    assert orjson.loads((await broker.next_message()).body)["development_id"] == left.development_id
    assert await states(db) == ["published"]


async def test_what_this_process_left_before_it_restarted_goes_out_at_once(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    await WebhookRepository(db, "same").store([event("left")])
    await run_once(WebhookRepository(db, "same"), every_service)
    await broker.next_message()
    assert await states(db) == ["published"]


async def test_two_processes_never_claim_the_same_event(db: Database) -> None:
    await WebhookRepository(db, "dead").store([event() for _ in range(60)])
    await db["webhook_events"].update_many({}, {"$set": {"publish_lease_until": now() - LEASE}})
    repositories = [WebhookRepository(db, name) for name in "abc"]
    claimed = await asyncio.gather(*(repository.claim(60) for repository in repositories))
    identifiers = [found.id for events in claimed for found in events]
    assert len(identifiers) == 60
    assert len(set(identifiers)) == 60


async def test_a_message_without_a_queue_stays_in_the_outbox(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    await broker.develop.unbind(amqp.EXCHANGE, amqp.routing_key("*"))
    repository = WebhookRepository(db, "same")
    await repository.store([event("unroutable")])
    await run_once(repository, every_service)
    assert await states(db) == ["stored"]
    await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("*"))
    await run_once(repository, every_service)
    await broker.next_message()
    assert await states(db) == ["published"]


async def test_an_exchange_that_is_missing_is_survived(
    every_service: EveryService, db: Database, broker: Broker
) -> None:
    await broker.channel.call("exchange_delete", exchange=amqp.EXCHANGE)
    repository = WebhookRepository(db, "same")
    await repository.store([event("early")])
    await run_once(repository, every_service)
    assert await states(db) == ["stored"]
    await declare_exchange(broker.channel, amqp.EXCHANGE, "topic")
    await broker.develop.bind(amqp.EXCHANGE, amqp.routing_key("*"))
    await run_once(repository, every_service)
    await broker.next_message()


async def test_publishing_again_does_not_make_a_second_development(db: Database) -> None:
    repository = WebhookRepository(db, "same")
    stored = event("once")
    await repository.store([stored])
    await repository.queue_developments([stored])
    await db["developments"].update_one({"_id": stored.development_id}, {"$set": {"status": "running"}})
    await repository.queue_developments([stored])
    developments = await db["developments"].find().to_list()
    assert [development["status"] for development in developments] == ["running"]


async def test_a_process_that_stops_gives_back_what_it_could_not_publish(
    rabbitmq_proxy: CuttableProxy, make_settings: MakeSettings, db: Database
) -> None:
    await rabbitmq_proxy.cut()
    stopping = WebhookRepository(db, "stopping")
    await stopping.store([event()])
    await run_once(stopping, make_settings(EveryService, rabbitmq_url=rabbitmq_proxy.url))
    await until(_claimed_by(WebhookRepository(db, "another"), 1), seconds=2)


async def test_a_project_key_too_long_for_a_routing_key_is_published_all_the_same(
    start_service: StartService, broker: Broker
) -> None:
    service = await start_service()
    await service.deliver(ticket("K" * 250))
    assert orjson.loads((await broker.next_message()).body)["jira_project_key"] == "K" * 250


async def run_once(repository: WebhookRepository, settings: EveryService) -> None:
    """One life of an outbox: start, publish what there is, stop."""
    publisher = Publisher(settings, application="tests")
    outbox = Outbox(repository, publisher, CollectorRegistry(auto_describe=True))
    stop = asyncio.Event()
    stop.set()
    await outbox.run(stop)
    await publisher.close()
