"""The real MongoDB and RabbitMQ that a run uses, and its own databases, exchange and queue in them.

The addresses come from MONGO_URL, MONGO_TLS_CA_FILE, RABBITMQ_URL and RABBITMQ_TLS_CA_FILE; without them the lab's test
services are started: a replica set with TLS, a broker with TLS. The database's cache is set to what the smallest
appliance gives it.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from sdlc_agents.kernel import amqp, mongo
from sdlc_agents.kernel.mongo import Client, Database
from sdlc_agents.kernel.settings import AmqpSettings, MongoSettings

ROOT = Path(__file__).resolve().parents[2]
CACHE, CACHE_BEFORE = "1G", "256M"


class BackendSettings(MongoSettings, AmqpSettings):
    """Where database and broker are."""


@dataclass(frozen=True)
class World:
    """One run's things."""

    client: Client
    channel: amqp.Channel
    environment: Mapping[str, str]
    name: str

    def database(self, variant: str) -> Database:
        """The variant's own database."""
        return self.client[self.database_name(variant)]

    def database_name(self, variant: str) -> str:
        """Its name."""
        return f"{self.name}_{variant}"

    async def empty(self, variant: str) -> None:
        """Drop its database."""
        await self.client.drop_database(self.database_name(variant))

    async def purge(self) -> None:
        """Empty the queue."""
        await self.channel.call("queue_purge", queue=self.name)

    async def count(self, variant: str, state: str | None = None) -> int:
        """How many events are stored, or are in a state."""
        return await self.database(variant)["webhook_events"].count_documents({} if state is None else {"state": state})

    async def queued(self) -> int:
        """How many messages the queue holds."""
        return int((await self.channel.call("queue_declare", queue=self.name, passive=True)).message_count)


def lab_services() -> dict[str, str]:
    """The addresses of MongoDB and RabbitMQ, by the names of the services' settings."""
    given = os.environ if "MONGO_URL" in os.environ and "RABBITMQ_URL" in os.environ else _lab()
    names = ("MONGO_URL", "MONGO_TLS_CA_FILE", "RABBITMQ_URL", "RABBITMQ_TLS_CA_FILE")
    return {name: given[name] for name in names if given.get(name)}


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Everything that a run needs, until the block is left; then nothing of it is left."""
    environment = lab_services()
    settings = BackendSettings(
        mongo_url=SecretStr(environment["MONGO_URL"]),
        mongo_tls_ca_file=_path(environment.get("MONGO_TLS_CA_FILE")),
        rabbitmq_url=SecretStr(environment["RABBITMQ_URL"]),
        rabbitmq_tls_ca_file=_path(environment.get("RABBITMQ_TLS_CA_FILE")),
    )
    name = f"bench_{secrets.token_hex(4)}"
    connection = amqp.Connection(settings, application="bench")
    async with mongo.connect(settings, application="bench", timeoutMS=120_000) as client:
        channel = await connection.open()
        await channel.call("exchange_declare", exchange=name, exchange_type="topic", durable=True)
        await channel.call("queue_declare", queue=name, durable=True, arguments={"x-queue-type": "quorum"})
        await channel.call("queue_bind", queue=name, exchange=name, routing_key=amqp.routing_key("*"))
        try:
            await _cache(client, CACHE)
            yield World(client, channel, {**environment, "BENCH_EXCHANGE": name, "BENCH_QUEUE": name}, name)
        finally:
            await channel.call("queue_delete", queue=name)
            await channel.call("exchange_delete", exchange=name)
            await connection.close()
            for database in await client.list_database_names():
                if database.startswith(name):
                    await client.drop_database(database)
            await _cache(client, CACHE_BEFORE)


async def _cache(client: Client, size: str) -> None:
    await client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=f"cache_size={size}")


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)


def _lab() -> dict[str, str]:
    answer = subprocess.run(
        [ROOT / ".venv/bin/lab", "test-services", "up"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
