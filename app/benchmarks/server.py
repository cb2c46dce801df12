"""`python -m benchmarks.server VARIANT`: one variant as a process of its own, configured as the service is.

verify   checks the signature and reads the ticket
store    and stores it, with group commit
publish  and publishes it with confirms: jira-webhook-api itself
usual    the reference
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from benchmarks.reference import reference_app
from benchmarks.tickets import STATUS
from sdlc_agents.kernel import amqp, mongo
from sdlc_agents.kernel.health import Check, health_server
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import run_until_stopped, serve
from sdlc_agents.kernel.settings import load_settings
from sdlc_agents.webhooks import service
from sdlc_agents.webhooks.endpoints import create_app
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult
from sdlc_agents.webhooks.ingest import GroupCommit
from sdlc_agents.webhooks.payload import TriggerRule
from sdlc_agents.webhooks.repository import WebhookRepository
from sdlc_agents.webhooks.settings import WebhookSettings


class _NoDatabase(GroupCommit):
    """Stores nothing."""

    def __init__(self) -> None:
        pass

    async def store(self, event: ReceivedEvent) -> StoreResult:
        del event
        return StoreResult.STORED


def _trigger(_project_key: str) -> TriggerRule:
    return TriggerRule(STATUS)


@asynccontextmanager
async def _application(variant: str, settings: WebhookSettings, registry: CollectorRegistry) -> AsyncIterator[Any]:
    if variant == "verify":
        yield create_app(settings, _NoDatabase(), registry, _trigger)
    elif variant == "store":
        async with mongo.connect(settings, application="bench") as client:
            repository = WebhookRepository(mongo.database(client, settings), "bench")
            async with GroupCommit(repository.store) as ingest:
                yield create_app(settings, ingest, registry, _trigger)
    else:
        async with reference_app(settings) as app:
            yield app


def main() -> None:
    """Serve until SIGTERM."""
    amqp.EXCHANGE, amqp.QUEUE = os.environ.pop("BENCH_EXCHANGE"), os.environ.pop("BENCH_QUEUE")
    variant = sys.argv[1]
    if variant == "publish":
        service.run()
        return
    settings = load_settings(WebhookSettings)
    configure_logging(settings, variant)

    async def run(stop: asyncio.Event) -> None:
        registry = new_registry()
        checks: dict[str, Check] = {}
        async with (
            _application(variant, settings, registry) as app,
            health_server(settings, checks, registry),
            serve(app, port=settings.jira_webhook_api_port),
        ):
            await stop.wait()

    run_until_stopped(run)


if __name__ == "__main__":
    main()
