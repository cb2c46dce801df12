"""Databases beside the test process's own."""

from collections.abc import AsyncIterator

import pytest

from sdlc_agents.kernel.mongo import Client, Database
from support.backends import EveryService


@pytest.fixture
async def fresh(client: Client, every_service: EveryService) -> AsyncIterator[Database]:
    """A database that was never migrated."""
    name = f"{every_service.mongo_database}_fresh"
    yield client[name]
    await client.drop_database(name)
