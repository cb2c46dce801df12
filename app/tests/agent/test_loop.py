"""A development from the queue to the pull request: every service a process, Claude Code and Gitea the real ones."""

import aio_pika
import orjson

from sdlc_agents import amqp
from support.agents import Developments, GatewayProcess, RunnerProcesses
from support.backends import Broker
from support.lab import Gitea
from support.relay import EgressProxy

from agent.conftest import StartConsumer


async def send(broker: Broker, developments: Developments, development_id: str) -> None:
    """What the webhook API publishes."""
    document = await developments.get(development_id)
    exchange = await broker.channel.get_exchange(amqp.EXCHANGE)
    fields = ("jira_issue_id", "jira_issue_key", "jira_project_key", "summary", "description")
    body = {name: document[name] for name in fields} | {"development_id": development_id}
    await exchange.publish(
        aio_pika.Message(orjson.dumps(body)), amqp.routing_key(document["jira_project_key"]), mandatory=True
    )


async def test_a_queued_ticket_becomes_a_pull_request(
    gitea: Gitea,
    gateway: GatewayProcess,
    runners: RunnerProcesses,
    broker: Broker,
    proxy: EgressProxy,
    developments: Developments,
    start_consumer: StartConsumer,
) -> None:
    repository = await gitea.make_repository()
    await developments.register(repository)
    await runners.start()
    async with start_consumer() as consumer:
        development_id = await developments.queue("Please write it down.")
        await send(broker, developments, development_id)
        document = await developments.ended(development_id)
        print(consumer.log.read_text())
        print(document, consumer.resident_megabytes(), gateway.service.resident_megabytes())
        t = document["timings"]
        print({k: (v - t["accepted_at"]).total_seconds() for k, v in t.items()})
    assert document["status"] == "completed", document
