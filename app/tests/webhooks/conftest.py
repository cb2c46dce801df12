"""A running webhook API for tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.settings import WebhookSettings
from support.backends import Broker, MakeSettings
from support.webhook_service import PREVIOUS, SECRET, Service, StartService, running


@pytest.fixture
async def start_service(make_settings: MakeSettings, db: Database, broker: Broker) -> AsyncIterator[StartService]:
    """`await start_service(field=value, …)`: a webhook API with some settings replaced."""
    del db, broker
    async with AsyncExitStack() as stack:

        async def start(**given: Any) -> Service:
            secrets = {"jira_webhook_secret": SECRET.decode(), "jira_webhook_secret_previous": PREVIOUS.decode()}
            return await stack.enter_async_context(running(make_settings(WebhookSettings, **(secrets | given))))

        yield start


@pytest.fixture
async def service(start_service: StartService) -> Service:
    """A webhook API."""
    return await start_service()
