"""POST /webhook: read, verify, hand over, answer."""

import asyncio
import hashlib
import re

import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sdlc_agents import web
from sdlc_agents.clock import now
from sdlc_agents.errors import InvalidRequestError, PayloadTooLargeError, ServiceError, UnauthorizedError
from sdlc_agents.health import healthy
from sdlc_agents.ids import new_id
from sdlc_agents.webhooks.events import Event, Outcome
from sdlc_agents.webhooks.ingest import GroupCommit
from sdlc_agents.webhooks.outbox import Outbox
from sdlc_agents.webhooks.payload import Ignored, parse
from sdlc_agents.webhooks.settings import WebhookSettings
from sdlc_agents.webhooks.signature import is_authentic

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 10.0
_IDENTIFIER = re.compile(r"[\x21-\x7e]{1,255}")

log = structlog.get_logger()


class RequestTimeoutError(ServiceError):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"


def create_app(
    settings: WebhookSettings, ingest: GroupCommit, outbox: Outbox, registry: CollectorRegistry
) -> Starlette:
    """The application. A bare Starlette: one endpoint that needs no model of its body, at the highest rate."""
    deliveries = Counter("sdlc_webhook_deliveries", "Deliveries by what became of them", ["result"], registry=registry)
    secrets = settings.secrets
    trigger_status = settings.jira_trigger_status

    async def webhook(request: Request) -> Response:
        signature = request.headers.get("x-hub-signature")
        body = await read_body(request)
        if not is_authentic(body, signature, secrets):
            deliveries.labels("unauthorized").inc()
            raise UnauthorizedError("the signature is missing" if signature is None else "the signature is wrong")
        delivery = parse(body, trigger_status)
        if isinstance(delivery, Ignored):
            deliveries.labels("ignored").inc()
            return web.JsonResponse({"status": "ignored", "message": delivery.reason})
        event = Event(
            id=new_id(),
            development_id=new_id(),
            delivery_id=delivery_id(request.headers.get("x-atlassian-webhook-identifier"), body),
            received_at=now(),
            raw_payload=body.decode(),
            delivery=delivery,
        )
        outcome = await ingest.store(event)
        if outcome is Outcome.DUPLICATE:
            deliveries.labels("duplicate").inc()
            return web.JsonResponse({"status": "duplicate", "message": "this delivery was accepted before"})
        outbox.offer(event)
        deliveries.labels("accepted").inc()
        log.info("delivery_accepted", development_id=event.development_id, jira_issue_key=delivery.jira_issue_key)
        return web.JsonResponse({"status": "accepted", "message": f"{delivery.jira_issue_key} is queued"})

    async def health(_request: Request) -> Response:
        return web.JsonResponse(healthy())

    app = Starlette(routes=[Route("/webhook", webhook, methods=["POST"]), Route("/health", health)])
    web.install(app, registry)
    return app


async def read_body(request: Request) -> bytes:
    """The raw body. Raises 413 past `MAX_BODY_BYTES`, 408 past `BODY_SECONDS`, 400 when the client went away."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise PayloadTooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
                parts.append(part)
    except TimeoutError as error:
        raise RequestTimeoutError(f"the body did not arrive within {BODY_SECONDS:g} seconds") from error
    except ClientDisconnect as error:
        raise InvalidRequestError("the body is incomplete") from error
    return b"".join(parts)


def delivery_id(identifier: str | None, body: bytes) -> str:
    """What Jira calls the delivery (the same on a retry), else the body's hash."""
    if identifier is not None and _IDENTIFIER.fullmatch(identifier):
        return identifier
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
