"""Sends events to the broker: persistent, mandatory, and only done when the broker confirms.

Message: JSON `{jira_issue_id, jira_issue_key, jira_project_key, summary, description, development_id}` to the topic
exchange `webhook.development.request` with key `webhook.development.<PROJECT KEY>`; `message_id` is the development's.
"""

import asyncio

import aio_pika
import orjson
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import AMQPException

from sdlc_agents import amqp
from sdlc_agents.errors import UnavailableError
from sdlc_agents.settings import AmqpSettings
from sdlc_agents.webhooks.events import Event

CONFIRM_SECONDS = 10.0
CLOSE_SECONDS = 2.0
_FAILURES = (AMQPError, AMQPException, OSError, TimeoutError, RuntimeError, asyncio.CancelledError)

log = structlog.get_logger()


class Publisher:
    """One connection with one confirming channel, opened when needed and again after an outage."""

    def __init__(self, settings: AmqpSettings, *, application: str) -> None:
        self._settings = settings
        self._application = application
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._exchange: AbstractExchange | None = None
        self._lock = asyncio.Lock()

    async def connect(self) -> None:
        """Be connected; raises `UnavailableError` when the broker is away. Also what `/ready` asks."""
        async with self._lock:
            if not self._is_open():
                await self._reopen()

    async def publish(self, event: Event) -> None:
        """Send one event; returns when the broker has it on disk.

        Raises `UnavailableError` when there is no connection, or the broker refuses the event or has no queue for it.
        """
        if self._exchange is None:
            raise UnavailableError("the broker is not connected")
        try:
            await self._exchange.publish(
                _message(event),
                amqp.routing_key(event.delivery.jira_project_key),
                mandatory=True,
                timeout=CONFIRM_SECONDS,
            )
        except _FAILURES as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            raise UnavailableError(f"the broker did not take the message: {type(error).__name__}") from error

    async def close(self) -> None:
        """End the connection; what was not confirmed stays in the outbox."""
        connection, self._connection, self._channel, self._exchange = self._connection, None, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
            except _FAILURES as error:
                log.debug("broker_close_failed", error=repr(error))

    async def _reopen(self) -> None:
        await self.close()
        try:
            self._connection = await amqp.connect(self._settings, application=self._application)
            async with asyncio.timeout(amqp.CONNECT_SECONDS):
                self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                # ensure=False: the exchange is the rabbitmq role's; this user may write to it and nothing else.
                self._exchange = await self._channel.get_exchange(amqp.EXCHANGE, ensure=False)
        except _FAILURES as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            raise UnavailableError("the broker is not available") from error
        log.info("broker_connected")

    def _is_open(self) -> bool:
        connection, channel = self._connection, self._channel
        return connection is not None and channel is not None and not connection.is_closed and not channel.is_closed


def _cancelled() -> bool:
    """Whether this task itself is being cancelled (aiormq also raises CancelledError when a connection breaks)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _message(event: Event) -> aio_pika.Message:
    delivery = event.delivery
    body = {
        "jira_issue_id": delivery.jira_issue_id,
        "jira_issue_key": delivery.jira_issue_key,
        "jira_project_key": delivery.jira_project_key,
        "summary": delivery.summary,
        "description": delivery.description,
        "development_id": event.development_id,
    }
    return aio_pika.Message(
        orjson.dumps(body),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=event.development_id,
        timestamp=event.received_at,
        type="development.requested",
    )
