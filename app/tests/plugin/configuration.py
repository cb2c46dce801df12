"""A running configuration API."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sdlc_agents.apikeys.keys import new_key
from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.configuration.app import create_app
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.callers import Scope
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.serving import serve
from sdlc_agents.kernel.settings import MongoSettings
from support.apikeys import MakeKey
from support.backends import EveryService, MakeSettings
from support.conformance import Conformance
from support.database_users import DatabaseUsers


@pytest.fixture
def make_key(db: Database) -> MakeKey:
    """`await make_key("read", …)`: an API key with these scopes."""

    async def make(*scopes: str) -> str:
        key = new_key()
        await ApiKeyRepository(db).add(key, "-".join(scopes), map(Scope, scopes), None)
        return key

    return make


@pytest.fixture(scope="session")
def conformance() -> Conformance:
    """What holds answers against the OpenAPI document."""
    return Conformance()


@pytest.fixture
async def api_database(
    db: Database, make_settings: MakeSettings, database_users: DatabaseUsers
) -> AsyncIterator[Database]:
    """The database with the rights that the API has there."""
    settings = make_settings(MongoSettings, mongo_url=database_users.url("configuration"))
    async with mongo.connect(settings, application="configuration-api") as client:
        yield client[db.name]


@pytest.fixture
async def api_cipher(api_database: Database, every_service: EveryService) -> AsyncIterator[FieldCipher]:
    """Encrypts and decrypts with the rights that the API has."""
    field_cipher = FieldCipher(api_database, master_key(every_service))
    yield field_cipher
    await field_cipher.close()


@pytest.fixture
async def anonymous(
    api_database: Database, api_cipher: FieldCipher, registry: CollectorRegistry, conformance: Conformance
) -> AsyncIterator[httpx.AsyncClient]:
    """The API without a key. Every answer is held against the OpenAPI document."""
    async with (
        serve(create_app(api_database, api_cipher, registry), port=0, host="127.0.0.1", graceful_seconds=2) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=15, event_hooks={"response": [conformance]}
        ) as http,
    ):
        yield http


@pytest.fixture
async def api(anonymous: httpx.AsyncClient, make_key: MakeKey) -> httpx.AsyncClient:
    """The API with a key of scope `write`."""
    anonymous.headers["X-API-Key"] = await make_key("write")
    return anonymous
