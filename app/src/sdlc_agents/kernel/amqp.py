"""RabbitMQ: one connection with one channel that confirms, as something to await.

It wraps pika's `AsyncioConnection`, which runs on the services' own loop and speaks in callbacks. What pika raises
becomes `BrokerError` here; nothing else imports pika.

AMQP 0-9-1: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, https://www.rabbitmq.com/amqp-0-9-1-reference.html
Confirms: https://www.rabbitmq.com/docs/confirms
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import takewhile
from typing import Any

import pika
import structlog
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel as PikaChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.settings import AmqpSettings

EXCHANGE = "webhook.development.request"
QUEUE = "develop"
# Failures have an exchange of their own: who may publish there reaches no other queue.
ERROR_EXCHANGE = "develop_error"
ERROR_QUEUE = "develop_error"

ROUTING_KEY_BYTES = 255
CONNECT_SECONDS = 5.0
CALL_SECONDS = 10.0
CONFIRM_SECONDS = 10.0
CLOSE_SECONDS = 2.0
HEARTBEAT_SECONDS = 15

log = structlog.get_logger()


def routing_key(jira_project_key: str) -> str:
    """The routing key of a project's messages, cut to what AMQP takes (the message carries the whole key)."""
    return f"webhook.development.{jira_project_key}".encode()[:ROUTING_KEY_BYTES].decode(errors="ignore")


class BrokerError(UnavailableError):
    """The broker is away, or does not do what it was asked."""


class NotTakenError(BrokerError):
    """The broker refused a message, or had no queue for it."""


class UnconfirmedError(BrokerError):
    """The broker said nothing about a message in time: it may have it, or not."""


@dataclass(frozen=True, slots=True)
class Message:
    """A persistent message of JSON; `message_id` and `type` have at most 255 bytes."""

    body: bytes
    exchange: str
    routing_key: str
    message_id: str
    type: str
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that the broker gave to this consumer, which must answer it."""

    body: bytes
    message_id: str | None
    redelivered: bool
    tag: int
    channel: "Channel"

    def ack(self) -> None:
        """Tell the broker that it is done. Raises `BrokerError` when the channel is closed: it comes again."""
        self.channel.send(partial(self.channel.pika.basic_ack, self.tag))

    def give_back(self) -> None:
        """Put it back into its queue. Raises `BrokerError` when the channel is closed: it goes back by itself."""
        self.channel.send(partial(self.channel.pika.basic_nack, self.tag, requeue=True))


class _Batch:
    """Messages that were published together: one outcome each, and a future for the last of them."""

    def __init__(self, size: int) -> None:
        late = UnconfirmedError("the broker did not confirm a message in time")
        self.outcomes: list[BrokerError | None] = [late] * size
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = size

    def settle(self, index: int, outcome: BrokerError | None) -> None:
        self.outcomes[index] = outcome
        self._left -= 1
        if not self._left:
            self.complete.set_result(None)


@dataclass(slots=True)
class _Sent:
    """A message about which the broker has not said its last word."""

    message: Message
    batch: _Batch
    index: int
    returned: NotTakenError | None = None


class Subscription:
    """What comes from one queue."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Delivery | BrokerError] = asyncio.Queue()

    def arrive(self, arrived: Delivery | BrokerError) -> None:
        """Have it be the next, or the end."""
        self._arrived.put_nowait(arrived)

    async def next(self) -> Delivery:
        """The next message, whenever it comes. Raises `BrokerError` when none can come any more."""
        arrived = await self._arrived.get()
        if isinstance(arrived, BrokerError):
            raise arrived
        return arrived

    def at_hand(self) -> Delivery | None:
        """A message that has come already."""
        arrived = None if self._arrived.empty() else self._arrived.get_nowait()
        return arrived if isinstance(arrived, Delivery) else None


class Channel:
    """An open channel in confirm mode. It ends with its connection, and when the broker closes it."""

    def __init__(self, connection: AsyncioConnection) -> None:
        opened = asyncio.get_running_loop().create_future()
        self.pika: PikaChannel = connection.channel(on_open_callback=partial(_resolve, opened))
        self.blocked: str | None = None
        """Why the broker takes no messages at the moment: it is short of memory or disk."""
        self._lost: BrokerError | None = None
        # Tags count from 1, one for each publish on the channel, from the moment it confirms (Confirms, "Publisher
        # Confirms"). They are counted here; those that the broker has not confirmed, in their order.
        self._last_tag = 0
        self._unconfirmed: OrderedDict[int, _Sent] = OrderedDict()
        self._opened: asyncio.Future[Any] = opened
        self._replies: set[asyncio.Future[Any]] = {opened}
        self._subscriptions: dict[str, Subscription] = {}
        self.pika.add_on_close_callback(self._on_close)
        self.pika.add_on_return_callback(self._on_return)
        self.pika.add_on_cancel_callback(self._on_cancel)
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._lost is None and self.pika.is_open

    def check(self) -> None:
        """Raise `BrokerError` unless the channel is open and the broker takes messages."""
        self._check_open()
        if self.blocked is not None:
            raise BrokerError(f"the broker takes no messages now: {self.blocked}")

    async def prepare(self, prefetch: int) -> None:
        """Wait until it is open; have it confirm, and hold at most so many unanswered messages (0: any number)."""
        await self._answered(self._opened)
        await self.call("confirm_delivery", ack_nack_callback=self._on_confirm)
        if prefetch:
            await self.call("basic_qos", prefetch_count=prefetch)

    async def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of pika's channel and return the broker's reply to it (`pika.spec`).

        Raises `BrokerError` when the broker refuses (and closes the channel), is lost or does not answer.
        """
        self._check_open()
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(partial(getattr(self.pika, method), callback=partial(_resolve, reply), **arguments))
        self._replies.add(reply)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return (await self._answered(reply)).method
        except TimeoutError as error:
            raise BrokerError(f"the broker did not answer {method} in time") from error

    async def publish(
        self,
        messages: Sequence[Message],
        timeout: float,  # noqa: ASYNC109 - it raises nothing: whoever asked learns what became of each message
    ) -> list[BrokerError | None]:
        """Publish messages as mandatory, all at once, and wait for the confirms; for each None, or why not.

        `NotTakenError` when the broker refused it or had no queue for it, `UnconfirmedError` when nothing was said in
        `timeout` seconds, `BrokerError` when the channel was lost before. Raises `BrokerError` when nothing can be sent
        at all. Whoever is cancelled meanwhile disturbs nobody: the broker's answers are still counted.
        """
        self.check()
        batch = _Batch(len(messages))
        for index, message in enumerate(messages):
            self._send(_Sent(message, batch, index))
        if messages:
            await asyncio.wait({batch.complete}, timeout=timeout)
        return batch.outcomes.copy()

    @asynccontextmanager
    async def consume(self, queue: str) -> AsyncIterator[Subscription]:
        """Subscribe to a queue while the block runs.

        What comes between the end of the block and the broker's last word on it goes back into the queue.
        """
        subscription = Subscription()

        def deliver(_: PikaChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
            tag, redelivered = method.delivery_tag, method.redelivered
            subscription.arrive(Delivery(body, properties.message_id, bool(redelivered), int(tag or 0), self))

        reply = await self.call("basic_consume", queue=queue, on_message_callback=deliver)
        self._subscriptions[reply.consumer_tag] = subscription
        try:
            yield subscription
        finally:
            del self._subscriptions[reply.consumer_tag]
            if self.is_open and reply.consumer_tag in self.pika.consumer_tags:  # the broker may have ended it
                await self.call("basic_cancel", consumer_tag=reply.consumer_tag)

    def send(self, send: Callable[[], object]) -> None:
        """Send something; raises `BrokerError` when the channel is closed."""
        try:
            send()
        except AMQPError as error:
            raise BrokerError(f"the broker's channel is closed: {error}") from error

    async def _answered(self, reply: "asyncio.Future[Any]") -> Any:
        try:
            answer = await reply
        finally:
            self._replies.discard(reply)
        if isinstance(answer, BrokerError):
            raise answer
        return answer

    def _check_open(self) -> None:
        if not self.is_open:
            raise self._lost or BrokerError("the broker's channel is closed")

    def _send(self, sent: _Sent) -> None:
        message = sent.message
        timestamp = None if message.timestamp is None else int(message.timestamp.timestamp())
        properties = BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            message_id=message.message_id,
            timestamp=timestamp,
            type=message.type,
        )
        try:
            self.pika.basic_publish(message.exchange, message.routing_key, message.body, properties, mandatory=True)
        except AMQPError as error:
            # pika encodes before it writes: nothing was sent, and this number was not used.
            sent.batch.settle(sent.index, NotTakenError(f"the message cannot be sent: {error!r}"))
            return
        self._last_tag += 1
        self._unconfirmed[self._last_tag] = sent

    def _on_confirm(self, frame: Any) -> None:
        """basic.ack or basic.nack: of one message, or (`multiple`) of all up to that one; of all when the tag is 0."""
        last, refused = frame.method.delivery_tag, isinstance(frame.method, Basic.Nack)
        tags = [last]
        if frame.method.multiple:
            tags = list(takewhile(lambda tag: not last or tag <= last, self._unconfirmed))
        for tag in tags:
            sent = self._unconfirmed.pop(tag, None)
            if sent is not None:
                nack = NotTakenError("the broker refused a message") if refused else None
                sent.batch.settle(sent.index, sent.returned or nack)

    def _on_return(self, _: PikaChannel, method: Basic.Return, properties: BasicProperties, __: bytes) -> None:
        """basic.return of a message that no queue takes comes before its ack (Confirms, "For unroutable messages").

        It bears no tag, so the message is found by its id: the first of that id that has not been returned before.
        """
        for sent in self._unconfirmed.values():
            message = sent.message
            known = (message.message_id, message.exchange, message.routing_key)
            if known == (properties.message_id, method.exchange, method.routing_key) and sent.returned is None:
                text = f"no queue takes messages with the key {method.routing_key} at exchange {method.exchange}"
                sent.returned = NotTakenError(f"{text}: {method.reply_code} {method.reply_text}")
                return

    def _on_cancel(self, frame: Any) -> None:
        """basic.cancel from the broker: the queue was deleted, or its leader is lost."""
        subscription = self._subscriptions.get(frame.method.consumer_tag)
        if subscription is not None:
            subscription.arrive(BrokerError("the broker ended the subscription"))

    def _on_blocked(self, _: object, frame: Any) -> None:
        """connection.blocked: https://www.rabbitmq.com/docs/connection-blocked."""
        self.blocked = str(frame.method.reason)
        log.warning("broker_blocks", reason=self.blocked)

    def _on_unblocked(self, _: object, __: object) -> None:
        self.blocked = None
        log.info("broker_unblocks")

    def _on_close(self, _: PikaChannel, reason: Exception) -> None:
        """The channel or its connection is gone: so is what the broker did not say by now."""
        self._lost = BrokerError(f"the broker's channel was closed: {_reason(reason)}")
        unconfirmed = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        for sent in unconfirmed:
            sent.batch.settle(sent.index, sent.returned or self._lost)
        for reply in self._replies:
            _resolve(reply, self._lost)
        for subscription in self._subscriptions.values():
            subscription.arrive(self._lost)


class Connection:
    """One connection with one channel, opened when it is needed, and again after an outage."""

    def __init__(self, settings: AmqpSettings, *, application: str, prefetch: int = 0) -> None:
        self._settings = settings
        self._application = application
        self._prefetch = prefetch
        self._link: _Link | None = None
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()

    @property
    def channel(self) -> Channel:
        """The channel as it is; raises `BrokerError` when none is open."""
        if self._channel is None or not self._channel.is_open:
            raise BrokerError("the broker is not connected")
        return self._channel

    async def open(self) -> Channel:
        """The channel, opened if none is; raises `BrokerError` when the broker is away."""
        async with self._opening:
            if self._channel is None or not self._channel.is_open:
                await self.close()
                await self._reopen()
            return self.channel

    async def check(self) -> None:
        """Raise `BrokerError` unless it is open."""
        self.channel  # noqa: B018 - it raises

    async def close(self) -> None:
        """End the connection. What was not confirmed is unknown, and what was not answered goes back to its queue."""
        link = self.give_up()
        if link is not None:
            await link.end()

    def give_up(self) -> "_Link | None":
        """Have no connection any more; the one that was, if any, ends by itself soon."""
        link, self._link, self._channel = self._link, None, None
        if link is not None:
            link.leave()
        return link

    async def _reopen(self) -> None:
        link = _Link(_parameters(self._settings, self._application))
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._channel = await link.open_channel(self._prefetch)
        except TimeoutError as error:
            await link.end()
            raise BrokerError("the broker is not available: it did not answer in time") from error
        except BaseException:
            await link.end()
            raise
        self._link = link
        log.info("broker_connected")


class _Link(AsyncioConnection):
    """pika's connection, to be awaited. It writes what one turn of the loop sends at once.

    pika's own way is one `send` a frame: three TLS records and three packets a message.
    """

    def __init__(self, parameters: pika.connection.Parameters) -> None:
        loop = asyncio.get_running_loop()
        self._opening: asyncio.Future[BaseException | None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._parts: list[bytes] = []
        super().__init__(parameters, self._on_open, self._on_open_error, self._on_end)

    async def open_channel(self, prefetch: int) -> Channel:
        """A channel, once all is open. Raises `BrokerError`."""
        error = await asyncio.shield(self._opening)
        if error is not None:
            raise BrokerError(f"the broker is not available: {_reason(error)}") from error
        channel = Channel(self)
        await channel.prepare(prefetch)
        return channel

    def leave(self) -> None:
        """Say goodbye. When the broker does not answer, the heartbeat ends the connection (`HEARTBEAT_SECONDS`)."""
        if not (self.is_closing or self.is_closed):
            self.close()

    async def end(self) -> None:
        """Leave, and return when the connection has ended, or after `CLOSE_SECONDS`."""
        self.leave()
        await asyncio.wait({self._ended}, timeout=CLOSE_SECONDS)

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._parts:
            self.ioloop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if not self.is_closed:
            super()._adapter_emit_data(b"".join(parts))  # type: ignore[misc]

    def _on_open(self, _: object) -> None:
        _resolve(self._opening, None)

    def _on_open_error(self, _: object, error: BaseException) -> None:
        _resolve(self._opening, error)
        _resolve(self._ended, None)

    def _on_end(self, _: object, __: BaseException) -> None:
        _resolve(self._ended, None)


def _parameters(settings: AmqpSettings, application: str) -> pika.URLParameters:
    url = settings.rabbitmq_url.get_secret_value()
    parameters = pika.URLParameters(url)
    if url.startswith("amqps:"):
        context = ssl.create_default_context(cafile=settings.rabbitmq_tls_ca_file)
        parameters.ssl_options = pika.SSLOptions(context, parameters.host)
    parameters.client_properties = {"connection_name": application}
    parameters.heartbeat = HEARTBEAT_SECONDS
    # `CONNECT_SECONDS` holds for all of it.
    parameters.socket_timeout = parameters.stack_timeout = None
    return parameters


def _resolve(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():  # whoever waited may have given up
        future.set_result(value)


def _reason(error: BaseException) -> str:
    """What lies under pika's layers of errors."""
    inner = getattr(error, "exceptions", None) or [getattr(error, "exception", None), *error.args]
    for found in reversed(inner):
        if isinstance(found, BaseException):
            return _reason(found)
    return f"{type(error).__name__} {error}".strip()
