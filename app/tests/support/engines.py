"""A MongoDB and a RabbitMQ of a test's own, which it may kill: two containers of the lab's image, on loopback."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pymongo
from lab import backends, containers, downloads, engine
from pydantic import SecretStr
from pymongo.errors import OperationFailure, PyMongoError

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.kernel.settings import AmqpSettings
from support.processes import free_port
from support.queues import declare_product
from support.waiting import until

START_SECONDS = 90
_MONGOD = (
    "mkdir -p /data && exec /lab/mongod/mongod --dbpath=/data --bind_ip_all --port={port} --replSet=rs0 "
    "--wiredTigerCacheSizeGB=0.25 --oplogSize=64 --quiet"
)
_RABBITMQ = (
    "printf 'listeners.tcp.default = {port}\\nloopback_users = none\\ndisk_free_limit.absolute = 50MB\\n' "
    "> /etc/rabbitmq/rabbitmq.conf && exec /usr/sbin/rabbitmq-server"
)


@dataclass(frozen=True)
class Engine:
    """One container; what it wrote outlives its process."""

    container: str
    url: str
    answers: Callable[[], Awaitable[bool]]

    async def kill(self) -> None:
        """End its processes as `kill -9` does."""
        await asyncio.to_thread(_kill, self.container)

    async def start(self) -> None:
        """Start it again; returns at once."""
        await asyncio.to_thread(containers.restart, self.container)

    async def run(self, *command: str) -> None:
        """Run a command in its container."""
        told = await asyncio.to_thread(containers.execute, self.container, *command)
        if told.status != 0:
            raise AssertionError(f"{command[0]} failed in {self.container}: {told.output}")

    async def ready(self) -> None:
        """Return when it answers."""
        await until(self.answers, seconds=START_SECONDS)


@asynccontextmanager
async def mongod() -> AsyncIterator[Engine]:
    """A replica set of one member."""
    folder = (await asyncio.to_thread(downloads.mongod)).parent
    port = free_port()
    url = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"

    async def answers() -> bool:
        direct = f"mongodb://127.0.0.1:{port}/?directConnection=true&serverSelectionTimeoutMS=500&timeoutMS=2000"
        async with pymongo.AsyncMongoClient[Document](direct) as client:
            with suppress(PyMongoError):
                with suppress(OperationFailure):  # AlreadyInitialized
                    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
                    await client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
                return bool((await client.admin.command("hello")).get("isWritablePrimary"))
        return False

    async with _container("mongod", port, _MONGOD, volumes=[f"{folder}:/lab/mongod:ro"]) as name:
        yield Engine(name, url, answers)


@asynccontextmanager
async def rabbitmq() -> AsyncIterator[Engine]:
    """A broker with the product's exchanges and queues."""
    port = free_port()
    url = f"amqp://guest:guest@127.0.0.1:{port}/"

    async def answers() -> bool:
        connection = amqp.Connection(AmqpSettings(rabbitmq_url=SecretStr(url)), application="tests")
        try:
            await declare_product(await connection.open())
        except UnavailableError:
            return False
        finally:
            await connection.close()
        return True

    environment = {"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none"}
    async with _container("rabbitmq", port, _RABBITMQ, environment=environment, hostname="private") as name:
        yield Engine(name, url, answers)


@asynccontextmanager
async def _container(kind: str, port: int, script: str, **options: Any) -> AsyncIterator[str]:
    name = f"sdlc-private-{kind}-{secrets.token_hex(4)}"
    try:
        await asyncio.to_thread(_run, name, port, ["sh", "-c", script.format(port=port)], options)
        yield name
    finally:
        await asyncio.to_thread(containers.remove, name)


def _run(name: str, port: int, command: list[str], options: dict[str, Any]) -> None:
    published = {f"{port}/tcp": ("127.0.0.1", port)}
    with engine.client() as client:
        client.containers.run(backends.image(), command, detach=True, name=name, ports=published, **options)


def _kill(name: str) -> None:
    with engine.client() as client:
        client.containers.get(name).kill()
