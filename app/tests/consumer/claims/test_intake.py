"""Taking a message when the broker, or the database, fails at that moment."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from prometheus_client import CollectorRegistry

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.intake import Intake
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.error_queue import ErrorQueue
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database
from support.agents import Developments
from support.backends import Broker, EveryService, MakeSettings
from support.proxy import CuttableProxy
from support.queues import publish as send
from support.waiting import until


class Unsure(ClaimRepository):
    """A database that is away whenever it is asked whether there is such a development."""

    async def exists(self, development_id: str) -> bool:
        del development_id
        raise UnavailableError("the database is not available")


@pytest.fixture
async def connection(make_settings: MakeSettings, rabbitmq_proxy: CuttableProxy) -> AsyncIterator[amqp.Connection]:
    """A consumer's connection, through a relay."""
    settings = make_settings(EveryService, rabbitmq_url=rabbitmq_proxy.url)
    made = amqp.Connection(settings, application="c", prefetch=1)
    yield made
    await made.close()


def make_intake(connection: amqp.Connection, repository: ClaimRepository, registry: CollectorRegistry) -> Intake:
    errors = ErrorQueue(connection)
    return Intake(connection, errors, repository, AgentMetrics(registry), asyncio.Event(), sweep_seconds=10)


async def publish(developments: Developments, broker: Broker, development_id: str) -> None:
    body = orjson.dumps({"development_id": development_id})
    await send(broker.channel, body, amqp.EXCHANGE, amqp.routing_key(developments.project_key))


@pytest.mark.parametrize("cut", [False, True], ids=["given up", "cut"])
async def test_a_claim_holds_when_the_connection_breaks_before_its_acknowledgement(
    db: Database,
    developments: Developments,
    broker: Broker,
    connection: amqp.Connection,
    rabbitmq_proxy: CuttableProxy,
    registry: CollectorRegistry,
    *,
    cut: bool,
) -> None:
    class Unlucky(ClaimRepository):
        """Loses the broker when it has claimed a development."""

        async def claim(self, development_id: str) -> Claim | None:
            claimed = await super().claim(development_id)
            if cut:
                channel = connection.channel
                await rabbitmq_proxy.cut()
                await until(lambda: _is(not channel.is_open))
            else:
                await connection.close()
            return claimed

    intake = make_intake(connection, Unlucky(db, "c", lease_seconds=30, queued_grace_seconds=60), registry)
    development_id = await developments.queue()
    await publish(developments, broker, development_id)
    claim = await intake.next_claim()
    assert claim is not None
    assert claim.development_id == development_id
    assert (await broker.next_message()).redelivered, "it was not acknowledged"


async def _is(value: bool) -> bool:  # noqa: FBT001
    return value


async def test_a_message_that_cannot_be_judged_goes_back(
    db: Database,
    developments: Developments,
    broker: Broker,
    connection: amqp.Connection,
    registry: CollectorRegistry,
) -> None:
    development_id = await developments.queue()
    await publish(developments, broker, development_id)
    unsure = make_intake(connection, Unsure(db, "c", lease_seconds=30, queued_grace_seconds=60), registry)
    with pytest.raises(UnavailableError):
        await unsure.next_claim()
    # While the connection is still open: it was given back, not left to its end.
    message = await broker.next_message()
    assert message.redelivered
    await connection.check()
