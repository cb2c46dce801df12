"""The usual implementation, as the measure: everything of a request inside that request.

The same server, the same checks, the same document, the same durability of the insert; one `insert_one` and one
publish without confirm for each ticket. It promises less: a ticket whose publish is lost stays lost, and what the
database has not confirmed when the client gives up is unknown.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel
from pika.spec import BasicProperties
from pymongo.errors import DuplicateKeyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sdlc_agents.kernel import amqp, mongo
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.settings import AmqpSettings
from sdlc_agents.webhooks.endpoints import delivery_id
from sdlc_agents.webhooks.events import ReceivedEvent
from sdlc_agents.webhooks.payload import Ignored, TriggerRule, parse
from sdlc_agents.webhooks.settings import WebhookSettings
from sdlc_agents.webhooks.signature import is_authentic


@asynccontextmanager
async def reference_app(settings: WebhookSettings) -> AsyncIterator[Starlette]:
    """The application with its clients, until the block is left."""
    async with (
        mongo.connect(settings, application="reference", maxPoolSize=100) as client,
        _channel(settings) as channel,
    ):
        events = mongo.database(client, settings)["webhook_events"]
        trigger = TriggerRule(settings.jira_trigger_status)

        async def webhook(request: Request) -> JSONResponse:
            body = await request.body()
            if not is_authentic(body, request.headers.get("x-hub-signature"), settings.secrets):
                return JSONResponse({"error": "the signature is wrong"}, 401)
            delivery = parse(body, lambda _project_key: trigger)
            if isinstance(delivery, Ignored):
                return JSONResponse({"status": "ignored", "message": delivery.reason})
            event = ReceivedEvent(
                id=new_id(),
                development_id=new_id(),
                delivery_id=delivery_id(request.headers.get("x-atlassian-webhook-identifier"), body),
                received_at=now(),
                raw_payload=body.decode(),
                delivery=delivery,
            )
            try:
                await events.insert_one({**event.document(), "state": "stored"})
            except DuplicateKeyError:
                return JSONResponse({"status": "duplicate", "message": "this delivery was accepted before"})
            _publish(channel, event)
            return JSONResponse({"status": "accepted", "message": f"{delivery.jira_issue_key} is queued"})

        yield Starlette(routes=[Route("/webhook", webhook, methods=["POST"])])


@asynccontextmanager
async def _channel(settings: AmqpSettings) -> AsyncIterator[Channel]:
    """A channel that does not confirm, as pika has it."""
    parameters = pika.URLParameters(settings.rabbitmq_url.get_secret_value())
    if settings.rabbitmq_tls_ca_file is not None:
        context = ssl.create_default_context(cafile=settings.rabbitmq_tls_ca_file)
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    loop = asyncio.get_running_loop()
    connected, ended = loop.create_future(), loop.create_future()
    opened: asyncio.Future[Channel] = loop.create_future()
    connection = AsyncioConnection(
        parameters,
        connected.set_result,
        lambda _, error: connected.set_exception(error),
        lambda *_: ended.set_result(None),
    )
    await connected
    connection.channel(on_open_callback=opened.set_result)
    try:
        yield await opened
    finally:
        connection.close()
        await ended


def _publish(channel: Channel, event: ReceivedEvent) -> None:
    body = {
        "jira_issue_id": event.delivery.jira_issue_id,
        "jira_issue_key": event.delivery.jira_issue_key,
        "jira_project_key": event.delivery.jira_project_key,
        "summary": event.delivery.summary,
        "description": event.delivery.description,
        "development_id": event.development_id,
    }
    properties = BasicProperties(content_type="application/json", delivery_mode=2, message_id=event.development_id)
    channel.basic_publish(
        amqp.EXCHANGE, amqp.routing_key(event.delivery.jira_project_key), orjson.dumps(body), properties
    )
