"""A user of MongoDB for each service, with the rights that its code declares and no other.

The services of the tests run as these, so a right that is missing fails the test of what needs it.
"""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pymongo
from pymongo import AsyncMongoClient

from sdlc_agents.commands.database_rights import USERS
from sdlc_agents.kernel.mongo import Client, Document
from sdlc_agents.kernel.rights import privileges
from support.backends import Backends


@dataclass(frozen=True)
class DatabaseUsers:
    """The users of one database."""

    backends: Backends
    database: str
    password: str

    def name(self, service: str) -> str:
        """What a service's user is called, which is its role's name too."""
        return f"{self.database}_{service}"

    def url(self, service: str, address: str | None = None) -> str:
        """The connection string of a service's user, to another address of the same server where one is given."""
        _, _, place = (address or self.backends.mongo_url).rpartition("@")
        return f"mongodb://{self.name(service)}:{self.password}@{place}"

    def environment(self, service: str) -> dict[str, str]:
        """MONGO_* for a service's process."""
        given = {"MONGO_URL": self.url(service), "MONGO_DATABASE": self.database}
        if self.backends.mongo_tls_ca_file:
            given["MONGO_TLS_CA_FILE"] = self.backends.mongo_tls_ca_file
        return given

    @asynccontextmanager
    async def client(self, service: str) -> AsyncIterator[Client]:
        """A client that logs in as a service does."""
        client: Client = AsyncMongoClient(self.url(service), tz_aware=True, **_options(self.backends))
        async with client:
            yield client


@contextmanager
def database_users_of(backends: Backends, database: str) -> Iterator[DatabaseUsers]:
    """A user and a role for each service; both are gone when the block is left."""
    users = DatabaseUsers(backends, database, secrets.token_hex(16))
    with pymongo.MongoClient[Document](backends.mongo_url, **_options(backends)) as client:
        try:
            for service, declared in USERS.items():
                name = users.name(service)
                client.admin.command("createRole", name, privileges=privileges(declared, database), roles=[])
                roles = [{"role": name, "db": "admin"}]
                client.admin.command("createUser", name, pwd=users.password, roles=roles, mechanisms=["SCRAM-SHA-256"])
            yield users
        finally:
            ours = {"$in": [users.name(service) for service in USERS]}
            for user in client.admin.command({"usersInfo": 1, "filter": {"user": ours}})["users"]:
                client.admin.command("dropUser", user["user"])
            for role in client.admin.command({"rolesInfo": 1})["roles"]:
                if role["role"] in ours["$in"]:
                    client.admin.command("dropRole", role["role"])


def _options(backends: Backends) -> dict[str, Any]:
    return {"tlsCAFile": backends.mongo_tls_ca_file} if backends.mongo_tls_ca_file else {}
