"""The webhook API as the process it is in production."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sdlc_agents.kernel import amqp
from support.backends import AMQP_NAMES, Backends
from support.processes import Service, free_port, service
from support.webhook_service import SECRET


@dataclass(frozen=True)
class WebhookProcess:
    """The process, and how to reach it."""

    process: Service
    http: httpx.AsyncClient


@asynccontextmanager
async def webhook_process(backends: Backends, database: str, log: Path) -> AsyncIterator[WebhookProcess]:
    """A webhook API at the log level of production, with the exchange of the `broker` fixture."""
    port = free_port()
    environment = {
        **{f"TEST_{name}": getattr(amqp, name) for name in AMQP_NAMES},
        "MONGO_URL": backends.mongo_url,
        "MONGO_DATABASE": database,
        "RABBITMQ_URL": backends.rabbitmq_url,
        "JIRA_WEBHOOK_API_PORT": str(port),
        "JIRA_WEBHOOK_SECRET": SECRET.decode(),
        "LOG_LEVEL": "info",
    }
    if backends.mongo_tls_ca_file:
        environment["MONGO_TLS_CA_FILE"] = backends.mongo_tls_ca_file
    if backends.rabbitmq_tls_ca_file:
        environment["RABBITMQ_TLS_CA_FILE"] = backends.rabbitmq_tls_ca_file
    async with (
        service("jira-webhook-api", environment, log) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
    ):
        yield WebhookProcess(process, http)
