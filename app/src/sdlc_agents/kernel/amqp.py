"""The connection to RabbitMQ."""

import ssl

import aio_pika
from aio_pika.abc import AbstractConnection

from sdlc_agents.kernel.settings import AmqpSettings

EXCHANGE = "webhook.development.request"
QUEUE = "develop"
# Failures have an exchange of their own: who may publish there reaches no other queue.
ERROR_EXCHANGE = "develop_error"
ERROR_QUEUE = "develop_error"

ROUTING_KEY_BYTES = 255
CONNECT_SECONDS = 5.0
HEARTBEAT_SECONDS = 15


def routing_key(jira_project_key: str) -> str:
    """The routing key of a project's messages, cut to what AMQP takes (the message carries the whole key)."""
    return f"webhook.development.{jira_project_key}"[:ROUTING_KEY_BYTES]


async def connect(settings: AmqpSettings, *, application: str) -> AbstractConnection:
    """One connection, which does not come back by itself: whoever holds it decides what an outage means.

    Raises what aio-pika raises (`aio_pika.exceptions.AMQPError`, `OSError`, `TimeoutError`) when the broker is away.
    """
    url = settings.rabbitmq_url.get_secret_value()
    context: ssl.SSLContext | None = None
    if url.startswith("amqps:"):
        context = ssl.create_default_context(cafile=settings.rabbitmq_tls_ca_file)
    return await aio_pika.connect(
        url,
        ssl_context=context,
        timeout=CONNECT_SECONDS,
        client_properties={"connection_name": application},
        heartbeat=HEARTBEAT_SECONDS,
    )
