"""Sends events to the broker: persistent, mandatory, and only done when the broker confirms.

Message: JSON `{jira_issue_id, jira_issue_key, jira_project_key, summary, description, development_id}` to the topic
exchange `webhook.development.request` with key `webhook.development.<PROJECT KEY>`; `message_id` is the development's.
"""

import asyncio
from collections.abc import Sequence

import orjson
import structlog
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError
from aiormq import Channel
from aiormq.abc import ChannelFrame
from aiormq.exceptions import AMQPException

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.settings import AmqpSettings
from sdlc_agents.webhooks.events import Event
from sdlc_agents.webhooks.frames import Message, encode

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
        self._channel: Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()

    async def connect(self) -> None:
        """Be connected; raises `UnavailableError` when the broker is away. Also what `/ready` asks."""
        async with self._lock:
            if not self._is_open():
                await self._reopen()

    async def publish(self, events: Sequence[Event]) -> list[Event]:
        """Send events with one write; those that the broker has on disk, in their order.

        The others it refused, had no queue for (a returned message counts as refused although it is acknowledged too)
        or did not confirm within `CONFIRM_SECONDS`. Raises `UnavailableError` when there is no connection.
        """
        channel = self._channel
        if channel is None or channel.is_closed:
            raise UnavailableError("the broker is not connected")
        frame_max = channel.connection.connection_tune.frame_max
        payload = b"".join([encode(_message(event), channel.number, frame_max) for event in events])
        async with channel.lock:
            confirmations = [_expect(channel, event.development_id) for event in events]
            try:
                await channel.write_queue.put(ChannelFrame(payload, should_close=False))
                _, late = await asyncio.wait(confirmations, timeout=CONFIRM_SECONDS)
            except BaseException:
                self._channel = None  # its numbers may be wrong now
                for confirmation in confirmations:
                    confirmation.cancel()
                raise
        if late:
            await self.close()
        for event in events:
            channel.message_id_delivery_tag.pop(event.development_id, None)
        return [event for event, confirmation in zip(events, confirmations, strict=True) if _confirmed(confirmation)]

    async def close(self) -> None:
        """End the connection; what was not confirmed stays in the outbox."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            # A task of its own: aiormq waits for the broker's goodbye, for half a minute also when it is cancelled.
            closing = asyncio.create_task(_close(connection))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            await asyncio.wait({closing}, timeout=CLOSE_SECONDS)

    async def _reopen(self) -> None:
        await self.close()
        try:
            self._connection = await amqp.connect(self._settings, application=self._application)
            async with asyncio.timeout(amqp.CONNECT_SECONDS):
                opened = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                underlay = await opened.get_underlay_channel()
        except _FAILURES as error:
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            raise UnavailableError("the broker is not available") from error
        assert isinstance(underlay, Channel)  # noqa: S101 - the only kind there is
        self._channel = underlay
        log.info("broker_connected")

    def _is_open(self) -> bool:
        connection, channel = self._connection, self._channel
        return connection is not None and channel is not None and not connection.is_closed and not channel.is_closed


async def _close(connection: AbstractConnection) -> None:
    try:
        await connection.close()
    except _FAILURES as error:
        log.debug("broker_close_failed", error=repr(error))


def _expect(channel: Channel, message_id: str) -> "asyncio.Future[object]":
    """What the broker will say of the next message on the channel: aiormq resolves or rejects it."""
    channel.delivery_tag += 1
    confirmation: asyncio.Future[object] = channel.create_future()
    channel.confirmations[channel.delivery_tag] = confirmation
    channel.message_id_delivery_tag[message_id] = channel.delivery_tag
    return confirmation


def _confirmed(confirmation: "asyncio.Future[object]") -> bool:
    if not confirmation.done() or confirmation.cancelled():
        return False
    if (error := confirmation.exception()) is not None:
        log.debug("publish_failed", error=type(error).__name__)
        return False
    return True


def _cancelled() -> bool:
    """Whether this task itself is being cancelled (aiormq also raises CancelledError when a connection breaks)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _message(event: Event) -> Message:
    delivery = event.delivery
    body = {
        "jira_issue_id": delivery.jira_issue_id,
        "jira_issue_key": delivery.jira_issue_key,
        "jira_project_key": delivery.jira_project_key,
        "summary": delivery.summary,
        "description": delivery.description,
        "development_id": event.development_id,
    }
    return Message(
        orjson.dumps(body),
        exchange=amqp.EXCHANGE,
        routing_key=amqp.routing_key(delivery.jira_project_key),
        message_id=event.development_id,
        timestamp=event.received_at,
        type="development.requested",
    )
