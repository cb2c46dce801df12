"""The services as hostile clients meet them: as processes, at the log level of production."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sdlc_agents.kernel.mongo import Database
from support.backends import Backends, Broker
from support.webhook_process import WebhookProcess, webhook_process


@pytest.fixture
async def webhook(backends: Backends, db: Database, broker: Broker, tmp_path: Path) -> AsyncIterator[WebhookProcess]:
    """A webhook API with an empty database."""
    del broker
    async with webhook_process(backends, db.name, tmp_path / "webhook.log") as running:
        yield running
