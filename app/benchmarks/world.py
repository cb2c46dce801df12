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

import aio_pika
from aio_pika.abc import AbstractChannel
from pydantic import SecretStr

from sdlc_agents.kernel import amqp, mongo
from sdlc_agents.kernel.mongo import Client, Database
from sdlc_agents.kernel.settings import AmqpSettings, MongoSettings
from sdlc_agents.migrations import schema

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ("webhook_events", "developments")
CACHE, CACHE_BEFORE = "1G", "256M"


class BackendSettings(MongoSettings, AmqpSettings):
    """Where database and broker are."""


@dataclass(frozen=True)
class World:
    """One run's things."""

    client: Client
    channel: AbstractChannel
    environment: Mapping[str, str]
    name: str

    def database(self, variant: str) -> Database:
        """The variant's own database."""
        return self.client[self.database_name(variant)]

    def database_name(self, variant: str) -> str:
        """Its name."""
        return f"{self.name}_{variant}"

    async def empty(self, variant: str) -> None:
        """Collections as a fresh appliance has them."""
        database = self.database(variant)
        for name in COLLECTIONS:
            await database.drop_collection(name)
        await schema.migrate(database)

    async def purge(self) -> None:
        """Empty the queue."""
        await (await self.channel.get_queue(self.name, ensure=False)).purge()

    async def count(self, variant: str, state: str | None = None) -> int:
        """How many events are stored, or are in a state."""
        return await self.database(variant)["webhook_events"].count_documents({} if state is None else {"state": state})

    async def queued(self) -> int:
        """How many messages the queue holds."""
        queue = await self.channel.declare_queue(self.name, passive=True)
        return queue.declaration_result.message_count or 0


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
    async with (
        mongo.connect(settings, application="bench", timeoutMS=120_000) as client,
        await amqp.connect(settings, application="bench") as connection,
    ):
        channel = await connection.channel()
        exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.bind(exchange, amqp.routing_key("*"))
        try:
            await _cache(client, CACHE)
            yield World(client, channel, {**environment, "BENCH_EXCHANGE": name, "BENCH_QUEUE": name}, name)
        finally:
            await channel.queue_delete(name)
            await channel.exchange_delete(name)
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
