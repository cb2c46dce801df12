"""`sdlc-agents mongodb-exporter`: METRICS_PORT and nothing else."""

import asyncio
from typing import Any

import structlog

from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.health import HealthApp
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import run_until_stopped, serve
from sdlc_agents.kernel.settings import MongoSettings, load_settings, public_values
from sdlc_agents.mongodb_exporter.collector import MemberCollector

log = structlog.get_logger()


class ExporterApp:
    """`/health`, `/ready` and `/metrics`, the last with figures read for that very request."""

    def __init__(self, collector: MemberCollector, health: HealthApp) -> None:
        self._collector = collector
        self._health = health

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request, or the lifespan protocol."""
        if scope["type"] == "http" and scope["path"] == "/metrics" and scope["method"] == "GET":
            await self._collector.refresh()
        await self._health(scope, receive, send)


def run() -> None:
    """Serve until SIGTERM. `MONGO_URL` names one member, with a user that has the role `clusterMonitor`."""
    settings = load_settings(MongoSettings)
    configure_logging(settings, "mongodb-exporter")
    run_until_stopped(lambda stop: serve_exporter(settings, stop))


async def serve_exporter(settings: MongoSettings, stop: asyncio.Event) -> None:
    """The service; returns when `stop` is set."""
    registry = new_registry()
    # Its own member and no other, whatever part that plays in the replica set.
    client = mongo.connect(settings, application="mongodb-exporter", directConnection=True, maxPoolSize=8)
    collector = MemberCollector(client, registry)
    health = HealthApp({"mongodb": collector.ping}, registry if settings.enable_metrics else None)
    try:
        async with serve(ExporterApp(collector, health), port=settings.metrics_port, graceful_seconds=1):
            log.info("exporter_ready", **public_values(settings))
            await stop.wait()
    finally:
        await client.close()
