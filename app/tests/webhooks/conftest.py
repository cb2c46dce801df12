"""A running webhook API for tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.settings import WebhookSettings
from support.backends import Broker, MakeSettings
from support.database_users import DatabaseUsers
from support.webhook_service import PREVIOUS, SECRET, Service, StartService, running


@pytest.fixture
async def start_service(
    make_settings: MakeSettings, database_users: DatabaseUsers, db: Database, broker: Broker
) -> AsyncIterator[StartService]:
    """`await start_service(field=value, …)`: a webhook API with its user's rights, and some settings replaced."""
    del db, broker
    async with AsyncExitStack() as stack:

        async def start(**given: Any) -> Service:
            secrets = {"jira_webhook_secret": SECRET.decode(), "jira_webhook_secret_previous": PREVIOUS.decode()}
            address = {"mongo_url": database_users.url("webhook", given.pop("mongo_url", None))}
            settings = make_settings(WebhookSettings, **(secrets | address | given))
            return await stack.enter_async_context(running(settings))

        yield start


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A webhook API."""
    return await start_service()
