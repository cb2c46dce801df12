"""configuration-api: the parts put together and run."""

import asyncio

import structlog

from sdlc_agents.configuration.app import create_app
from sdlc_agents.configuration.settings import ConfigurationSettings
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.health import serve_api
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import run_until_stopped
from sdlc_agents.kernel.settings import load_settings, public_values
from sdlc_agents.migrations import schema

NAME = "configuration-api"

log = structlog.get_logger()


def run() -> None:
    """Serve CONFIGURATION_API_PORT and METRICS_PORT until SIGTERM."""
    settings = load_settings(ConfigurationSettings)
    configure_logging(settings, NAME)
    key = master_key(settings)

    async def main(stop: asyncio.Event) -> None:
        registry = new_registry()
        async with mongo.connect(settings, application=NAME) as client:
            db = mongo.database(client, settings)
            cipher = FieldCipher(db, key)
            checks = {"database": lambda: mongo.ping(db), "schema": lambda: schema.check(db)}
            app = create_app(db, cipher, registry, trigger_status=settings.jira_trigger_status)
            try:
                async with serve_api(settings, app, settings.configuration_api_port, checks, registry, tls=settings):
                    log.info("service_started", **public_values(settings))
                    await stop.wait()
                    log.info("service_stopping")
                    app.state.developments.streams.close()
            finally:
                await cipher.close()
        log.info("service_stopped")

    run_until_stopped(main)
