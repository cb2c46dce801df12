"""jira-webhook-api: the parts put together and run."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.health import Check, serve_api
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import run_until_stopped
from sdlc_agents.kernel.settings import load_settings, public_values
from sdlc_agents.migrations import schema
from sdlc_agents.webhooks.endpoints import create_app
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult
from sdlc_agents.webhooks.ingest import GroupCommit
from sdlc_agents.webhooks.outbox import Outbox
from sdlc_agents.webhooks.payload import TriggerRule
from sdlc_agents.webhooks.publisher import Publisher
from sdlc_agents.webhooks.repository import WebhookRepository
from sdlc_agents.webhooks.settings import WebhookSettings
from sdlc_agents.webhooks.triggers import ProjectTriggers

NAME = "jira-webhook-api"
# Jira waits for an answer and comes back after a 503: sooner is better than later.
DATABASE_SECONDS = 5
# A stop takes the first of these, for requests, or DATABASE_SECONDS, for the last write, and then the second.
GRACEFUL_SECONDS = 5
LAST_SECONDS = 3.5
STOP_SECONDS = 9.0

log = structlog.get_logger()


@dataclass(frozen=True)
class WebhookService:
    """A running service: its application and what `/ready` asks."""

    app: ASGIApp
    checks: dict[str, Check]


@asynccontextmanager
async def webhook_service(settings: WebhookSettings, registry: CollectorRegistry) -> AsyncIterator[WebhookService]:
    """The service with its clients and its outbox, until the block is left.

    On leaving, what was accepted is written, and what was written is published if the broker takes it at once.
    """
    async with mongo.connect(settings, application=NAME, timeoutMS=DATABASE_SECONDS * 1000) as client:
        db = mongo.database(client, settings)
        owner = f"{socket.gethostname()}:{settings.jira_webhook_api_port}"
        repository = WebhookRepository(db, owner)
        publisher = Publisher(settings, application=NAME)
        outbox = Outbox(repository, publisher, registry)
        stop = asyncio.Event()
        triggers = ProjectTriggers(db, TriggerRule(settings.jira_trigger_status))
        with suppress(ServiceError):  # a database that is away stops no start
            await triggers.refresh()
        publishing = asyncio.create_task(outbox.run(stop), name="outbox")
        watching = asyncio.create_task(triggers.run(stop), name="triggers")

        async def store(events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
            try:
                # pymongo's own timeout does not cover the TLS handshake of a new connection.
                async with asyncio.timeout(DATABASE_SECONDS):
                    return await outbox.store(events)
            except TimeoutError as error:
                raise UnavailableError("the database did not answer in time") from error

        try:
            async with GroupCommit(store) as ingest:
                yield WebhookService(
                    app=create_app(settings, ingest, registry, triggers.of),
                    checks={
                        "database": lambda: mongo.ping(db),
                        "schema": lambda: schema.check(db),
                        "triggers": triggers.check,
                        "broker": publisher.connect,
                    },
                )
        finally:
            stop.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await asyncio.gather(publishing, watching)
                    await publisher.close()


def run() -> None:
    """Serve JIRA_WEBHOOK_API_PORT and METRICS_PORT until SIGTERM."""
    settings = load_settings(WebhookSettings)
    configure_logging(settings, NAME)

    async def main(stop: asyncio.Event) -> None:
        registry = new_registry()
        async with (
            webhook_service(settings, registry) as service,
            serve_api(
                settings,
                service.app,
                settings.jira_webhook_api_port,
                service.checks,
                registry,
                tls=settings,
                graceful_seconds=GRACEFUL_SECONDS,
            ),
        ):
            log.info("service_started", **public_values(settings))
            await stop.wait()
            log.info("service_stopping")
            asyncio.get_running_loop().call_later(STOP_SECONDS, _end)
        log.info("service_stopped")

    run_until_stopped(main)


def _end() -> None:
    """End at once: what was accepted is stored, and drivers wait longer for a peer that hangs than Docker does."""
    log.warning("service_stop_forced")
    os._exit(0)
