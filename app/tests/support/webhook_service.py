"""A webhook API over HTTP, with its inner view."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
from prometheus_client import CollectorRegistry

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.health import Check
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.serving import serve
from sdlc_agents.webhooks.events import ReceivedEvent
from sdlc_agents.webhooks.payload import Delivery
from sdlc_agents.webhooks.service import webhook_service
from sdlc_agents.webhooks.settings import WebhookSettings
from sdlc_agents.webhooks.signature import sign

SECRET = b"a secret that only the tests know"
PREVIOUS = b"the secret of last month"


@dataclass(frozen=True)
class Service:
    """The service over HTTP, and its inner view."""

    http: httpx.AsyncClient
    checks: dict[str, Check]
    registry: CollectorRegistry

    async def deliver(self, payload: Any, *, secret: bytes = SECRET, **headers: str) -> httpx.Response:
        """Post a signed payload as Jira does; `headers` with `_` for `-`."""
        body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        given = {"X-Hub-Signature": sign(body, secret), "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/webhook", content=body, headers=given)

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.registry.get_sample_value(name, labels) or 0.0


StartService = Callable[..., Awaitable[Service]]


@asynccontextmanager
async def running(settings: WebhookSettings) -> AsyncIterator[Service]:
    """A webhook API on a free port."""
    registry = CollectorRegistry(auto_describe=True)
    async with (
        webhook_service(settings, registry) as service,
        serve(service.app, port=0, host="127.0.0.1", graceful_seconds=2) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15) as http,
    ):
        yield Service(http, service.checks, registry)


def event(delivery_id: str = "", issue_key: str = "T-1") -> ReceivedEvent:
    """An event of its own, unless a `delivery_id` says which."""
    identity = new_id()
    delivery = Delivery("jira:issue_updated", "1", issue_key, "T", "s", "d", "In Development", None, ())
    return ReceivedEvent(
        id=identity,
        development_id=new_id(),
        delivery_id=delivery_id or identity,
        received_at=now(),
        raw_payload="{}",
        delivery=delivery,
    )
