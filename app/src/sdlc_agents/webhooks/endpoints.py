"""POST /webhook: read, verify, hand over, answer."""

import hashlib
import re

import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.requests import Request
from starlette.types import ASGIApp

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnauthorizedError
from sdlc_agents.kernel.health import healthy
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.metrics import HttpMetrics
from sdlc_agents.kernel.mongo import is_outage
from sdlc_agents.kernel.web import RequestMiddleware
from sdlc_agents.webhooks.bodies import BodyReader
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult
from sdlc_agents.webhooks.ingest import GroupCommit
from sdlc_agents.webhooks.payload import Ignored, TriggerOf, parse
from sdlc_agents.webhooks.routing import FixedRoute, FixedRoutes
from sdlc_agents.webhooks.settings import WebhookSettings
from sdlc_agents.webhooks.signature import is_authentic

MAX_RETRIES = 5
"""As often as Jira tries again; more than that shares one label."""

_IDENTIFIER = re.compile(r"[\x21-\x7e]{1,255}")
_RETRY = re.compile(r"[0-9]{1,3}")

log = structlog.get_logger()


class WebhookMetrics:
    """What became of deliveries."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "sdlc_webhook_deliveries", "Deliveries by what became of them", ["result"], registry=registry
        )
        self.retries = Counter(
            "sdlc_webhook_retries",
            "Authentic deliveries that Jira sent again, by their attempt",
            ["attempt"],
            registry=registry,
        )


def create_app(
    settings: WebhookSettings,
    ingest: GroupCommit,
    registry: CollectorRegistry,
    trigger_of: TriggerOf,
) -> ASGIApp:
    """The application: one endpoint that needs no model of its body, at the highest rate."""
    metrics = WebhookMetrics(registry)
    bodies = BodyReader()
    secrets = settings.secrets

    async def webhook(request: Request) -> dict[str, str]:
        headers = request.headers
        async with bodies.read(request) as body:
            signature = headers.get("x-hub-signature")
            if not is_authentic(body, signature, secrets):
                metrics.deliveries.labels("unauthorized").inc()
                raise UnauthorizedError("the signature is missing" if signature is None else "the signature is wrong")
            retry = retries(headers.get("x-atlassian-webhook-retry"))
            if retry:
                metrics.retries.labels(str(retry) if retry <= MAX_RETRIES else "more").inc()
            status, message = await judge(body, headers.get("x-atlassian-webhook-identifier"), retry)
        metrics.deliveries.labels(status).inc()
        return {"status": status, "message": message}

    async def judge(body: bytes, identifier: str | None, retry: int) -> tuple[str, str]:
        delivery = parse(body, trigger_of)
        if isinstance(delivery, Ignored):
            log.debug("delivery_ignored", reason=delivery.reason, retry=retry)
            return "ignored", delivery.reason
        event = ReceivedEvent(
            id=new_id(),
            development_id=new_id(),
            delivery_id=delivery_id(identifier, body),
            received_at=now(),
            raw_payload=body.decode(),
            delivery=delivery,
        )
        outcome = await ingest.store(event)
        if outcome is StoreResult.DUPLICATE:
            log.info("delivery_duplicate", jira_issue_key=delivery.jira_issue_key, retry=retry)
            return "duplicate", "this delivery was accepted before"
        log.info(
            "delivery_accepted",
            development_id=event.development_id,
            jira_issue_key=delivery.jira_issue_key,
            retry=retry,
        )
        return "accepted", f"{delivery.jira_issue_key} is queued"

    async def health(_request: Request) -> dict[str, str]:
        return healthy()

    routes = FixedRoutes(
        FixedRoute("/webhook", frozenset({"POST"}), webhook),
        FixedRoute("/health", frozenset({"GET", "HEAD"}), health),
    )
    return RequestMiddleware(routes, HttpMetrics(registry), is_outage=is_outage)


def retries(header: str | None) -> int:
    """How often Jira has sent this delivery before; 0 for a first one, and for a header that is no number."""
    return int(header) if header is not None and _RETRY.fullmatch(header) else 0


def delivery_id(identifier: str | None, body: bytes) -> str:
    """What Jira calls the delivery (the same on a retry), else the body's hash."""
    if identifier is not None and _IDENTIFIER.fullmatch(identifier):
        return identifier
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
