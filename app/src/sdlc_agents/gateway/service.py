"""`sdlc-agents llm-gateway`."""

import asyncio

import structlog

from sdlc_agents.gateway.egress import Egress
from sdlc_agents.gateway.endpoints import create_app
from sdlc_agents.gateway.forwarding import Gateway
from sdlc_agents.gateway.ledger import Ledger
from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.policy import Policy
from sdlc_agents.gateway.pricing import PriceList
from sdlc_agents.gateway.repository import JobRepository
from sdlc_agents.gateway.settings import GatewaySettings
from sdlc_agents.gateway.upstream import Upstream
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.health import serve_api
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import run_until_stopped
from sdlc_agents.kernel.settings import load_settings, public_values

log = structlog.get_logger()


def run() -> None:
    """Serve until SIGTERM."""
    settings = load_settings(GatewaySettings)
    configure_logging(settings, "llm-gateway")
    run_until_stopped(lambda stop: serve_gateway(settings, stop))


async def serve_gateway(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """The service; returns when `stop` is set and open answers had their time to end."""
    registry = new_registry()
    client = mongo.connect(settings, application="llm-gateway")
    db = mongo.database(client, settings)
    upstream = Upstream(settings)
    metrics = GatewayMetrics(registry)
    jobs = JobRepository(db)
    gateway = Gateway(
        Ledger(jobs, metrics, appliance_month_usd=settings.llm_gateway_monthly_budget_usd),
        upstream,
        Policy(PriceList(settings.llm_gateway_prices), settings.llm_gateway_models),
        metrics,
        job_requests=settings.llm_gateway_job_requests,
    )
    app = create_app(gateway, Egress(jobs, metrics), registry)
    try:
        checks = {"mongodb": lambda: mongo.ping(db)}
        async with serve_api(settings, app, settings.llm_gateway_port, checks, registry):
            log.info("gateway_ready", **public_values(settings))
            await stop.wait()
        await gateway.close()
    finally:
        await upstream.close()
        await client.close()
