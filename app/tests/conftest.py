"""What the tests of all services share: a real MongoDB and a real RabbitMQ, and a world of their own in them.

The addresses come from MONGO_URL, MONGO_TLS_CA_FILE, RABBITMQ_URL and RABBITMQ_TLS_CA_FILE; without them the lab's test
services are started. Each test process has a database, each test empty collections and an exchange and queues of its
own, so that tests may run side by side.
"""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pymongo
import pytest
import pytest_socket
import structlog
from prometheus_client import CollectorRegistry

from sdlc_agents.kernel import amqp, mongo
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.mongo import Client, Database, Document
from sdlc_agents.migrations import schema
from support.backends import (
    AMQP_NAMES,
    FIELD_ENCRYPTION_KEY,
    Backends,
    Broker,
    EveryService,
    MakeSettings,
    Settings,
)
from support.database_users import DatabaseUsers, database_users_of
from support.proxy import CuttableProxy
from support.queues import declare_product, remove_product

# An example that takes long says that the machine is busy; tests of time have time limits of their own.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")

pytest_plugins = ("plugin",)

ROOT = Path(__file__).resolve().parents[2]
KEPT = {"schema_version", "encryption_keys"}


def _lab() -> dict[str, str]:
    answer = subprocess.run(
        [sys.executable, "-m", "lab", "test-services", "up"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)


@pytest.fixture(scope="session")
def backends() -> Iterator[Backends]:
    """The services; other addresses than theirs and loopback are closed to the tests' own sockets."""
    given = os.environ if "MONGO_URL" in os.environ and "RABBITMQ_URL" in os.environ else _lab()
    found = Backends(
        mongo_url=given["MONGO_URL"],
        mongo_tls_ca_file=given.get("MONGO_TLS_CA_FILE"),
        rabbitmq_url=given["RABBITMQ_URL"],
        rabbitmq_tls_ca_file=given.get("RABBITMQ_TLS_CA_FILE"),
    )
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MONGO_URL", "MONGO_TLS_CA_FILE", "RABBITMQ_URL", "RABBITMQ_TLS_CA_FILE"):
            patch.delenv(name, raising=False)
        yield found


@pytest.fixture(autouse=True)
def _closed_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    hosts = request.getfixturevalue("backends").hosts if "backends" in request.fixturenames else []
    pytest_socket.socket_allow_hosts(["127.0.0.1", "::1", "localhost", *hosts], allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def database_name(backends: Backends) -> Iterator[str]:
    """A database of this test process, migrated, and dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    yield name
    options: dict[str, Any] = {"tlsCAFile": backends.mongo_tls_ca_file} if backends.mongo_tls_ca_file else {}
    with pymongo.MongoClient[Document](backends.mongo_url, **options) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def database_users(backends: Backends, database_name: str) -> Iterator[DatabaseUsers]:
    """A user for each service of this process's database, with the service's rights alone."""
    with database_users_of(backends, database_name) as users:
        yield users


@pytest.fixture
def make_settings(backends: Backends, database_name: str) -> MakeSettings:
    """`make_settings(SettingsClass, field=value, …)`: settings for the test's services, any of them replaced."""
    common: dict[str, Any] = {
        "mongo_url": backends.mongo_url,
        "mongo_database": database_name,
        "mongo_tls_ca_file": backends.mongo_tls_ca_file,
        "rabbitmq_url": backends.rabbitmq_url,
        "rabbitmq_tls_ca_file": backends.rabbitmq_tls_ca_file,
        "field_encryption_key": FIELD_ENCRYPTION_KEY,
        "log_level": "debug",
    }

    class Make:
        def __call__(self, cls: type[Settings], /, **given: Any) -> Settings:
            values = {name: value for name, value in common.items() if name in cls.model_fields}
            return cls(**(values | given))

    return Make()


@pytest.fixture
def every_service(make_settings: MakeSettings) -> EveryService:
    """Settings that reach everything."""
    return make_settings(EveryService)


@pytest.fixture
async def client(every_service: EveryService) -> AsyncIterator[Client]:
    """A client of MongoDB."""
    async with mongo.connect(every_service, application="tests") as connected:
        yield connected


@pytest.fixture
async def db(client: Client, every_service: EveryService) -> Database:
    """The database: migrated, with a data key, and empty otherwise."""
    database = mongo.database(client, every_service)
    if await schema.version(database) == 0:
        await schema.migrate(database)
        cipher = FieldCipher(database, master_key(every_service))
        await cipher.ensure_key()
        await cipher.close()
    names = set(await database.list_collection_names()) - KEPT
    await asyncio.gather(*(database[name].delete_many({}) for name in names))
    return database


@pytest.fixture
async def cipher(db: Database, every_service: EveryService) -> AsyncIterator[FieldCipher]:
    """Encrypts and decrypts as the services do."""
    field_cipher = FieldCipher(db, master_key(every_service))
    yield field_cipher
    await field_cipher.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of metrics for one service."""
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def project_key() -> str:
    """A Jira project key that no other test uses."""
    return f"T{secrets.token_hex(4).upper()}"


@pytest.fixture
async def broker(every_service: EveryService, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    """RabbitMQ with this test's own exchange and queues (the names in `sdlc_agents.kernel.amqp` are replaced)."""
    suffix = secrets.token_hex(4)
    for name in AMQP_NAMES:
        monkeypatch.setattr(amqp, name, f"{getattr(amqp, name)}.{suffix}")
    connection = amqp.Connection(every_service, application="tests")
    channel = await connection.open()
    try:
        yield Broker(connection, *await declare_product(channel))
    finally:
        await remove_product(channel)
        await connection.close()


@pytest.fixture
async def rabbitmq_proxy(backends: Backends) -> AsyncIterator[CuttableProxy]:
    """A way to RabbitMQ that can be cut; `url` is its address."""
    async with CuttableProxy(backends.rabbitmq_url) as proxy:
        yield proxy


@pytest.fixture
async def mongo_proxy(backends: Backends) -> AsyncIterator[CuttableProxy]:
    """A way to MongoDB that can be cut; `url` is its address (a direct connection to the one member)."""
    async with CuttableProxy(backends.mongo_url.replace("replicaSet=rs0", "directConnection=true")) as proxy:
        yield proxy
