"""Taking a message when the broker, or the database, fails at that moment."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import orjson
import pytest
from aio_pika.message import IncomingMessage
from prometheus_client import CollectorRegistry

from sdlc_agents.consumer.claims.intake import Intake
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database
from support.agents import Developments
from support.backends import Broker, EveryService


class Unsure(ClaimRepository):
    """A database that is away whenever it is asked whether there is such a development."""

    async def exists(self, development_id: str) -> bool:
        del development_id
        raise UnavailableError("the database is not available")


@pytest.fixture
async def intake(db: Database, every_service: EveryService, registry: CollectorRegistry) -> AsyncIterator[Intake]:
    repository = ClaimRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)
    opened = make_intake(every_service, repository, registry)
    yield opened
    await opened.close()


def make_intake(settings: EveryService, repository: ClaimRepository, registry: CollectorRegistry) -> Intake:
    return Intake(settings, repository, AgentMetrics(registry), asyncio.Event(), name="c", sweep_seconds=10)


async def publish(developments: Developments, broker: Broker, development_id: str) -> None:
    exchange = await broker.channel.get_exchange(amqp.EXCHANGE)
    message = aio_pika.Message(orjson.dumps({"development_id": development_id}))
    await exchange.publish(message, amqp.routing_key(developments.project_key))


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_claim_holds_when_the_connection_breaks_before_its_acknowledgement(
    intake: Intake,
    developments: Developments,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
    *,
    cancelled: bool,
) -> None:
    ack = IncomingMessage.ack

    async def break_first(message: IncomingMessage) -> None:
        await intake.close()
        if cancelled:  # as aiormq does to what waits on a connection at that moment
            raise asyncio.CancelledError
        await ack(message)

    monkeypatch.setattr(IncomingMessage, "ack", break_first)
    development_id = await developments.queue()
    await publish(developments, broker, development_id)
    claim = await intake.next_claim()
    assert claim is not None
    assert claim.development_id == development_id


async def test_a_message_that_cannot_be_judged_goes_back(
    db: Database,
    developments: Developments,
    broker: Broker,
    every_service: EveryService,
    registry: CollectorRegistry,
) -> None:
    development_id = await developments.queue()
    await publish(developments, broker, development_id)
    unsure = make_intake(every_service, Unsure(db, "c", lease_seconds=30, queued_grace_seconds=60), registry)
    with pytest.raises(UnavailableError):
        await unsure.next_claim()
    # While the connection is still open: it was given back, not left to its end.
    message = await broker.next_message()
    assert message.redelivered
    await unsure.close()
