"""Where work comes from: the queue's messages, and the developments that no message will bring.

A message is taken only when this consumer is idle: it subscribes, takes one, unsubscribes, claims the development,
acknowledges, and works. So no message waits behind a long run, and none is held unacknowledged during one. While it
waits, it looks each second whether a development is to be begun that no message will tell of: one that is to be
retried, or that waited for the end of an earlier run of its ticket.
"""

import asyncio
import time
from contextlib import suppress

import aio_pika
import orjson
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import AMQPException

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.consumer.reporting.error_queue import ErrorQueue
from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.settings import AmqpSettings

_FAILURES = (AMQPError, AMQPException, OSError, TimeoutError, RuntimeError)
_CLOSE_SECONDS = 2.0
_RECONNECT_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_PREVIEW = 100_000

log = structlog.get_logger()


class Intake:
    """Claims, one after another, until `stop` is set. Holds one connection to the broker, opened when needed."""

    def __init__(
        self,
        settings: AmqpSettings,
        developments: ClaimRepository,
        metrics: AgentMetrics,
        stop: asyncio.Event,
        *,
        name: str,
        sweep_seconds: float,
    ) -> None:
        self._settings = settings
        self._developments = developments
        self._metrics = metrics
        self._stop = stop
        self._name = name
        self._sweep_seconds = sweep_seconds
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self.errors = ErrorQueue(self._open)

    async def next_claim(self) -> Claim | None:
        """The next claim; None when there was nothing for a while, so that the caller can look after other things.

        Raises `UnavailableError` while the database is away. A broker that is away leaves what is queued in the
        database, which is looked at as well.
        """
        # Before anything else, so that readiness tells the truth during a run that no message brought.
        connected = await self._connected()
        claim = await self._developments.claim_any()
        if claim is not None:
            self._metrics.taken_over.inc()
            log.info("development_taken_without_message", development_id=claim.development_id)
            return claim
        if connected:
            try:
                return await self._from_queue()
            except _FAILURES as error:
                await self._lost(error)
            except asyncio.CancelledError as error:
                # aiormq cancels what waits on a connection that breaks; only a cancelled task is to end.
                if _cancelled():
                    raise
                await self._lost(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), _RECONNECT_SECONDS)
        return None

    async def _connected(self) -> bool:
        try:
            await self._open()
        except _FAILURES as error:
            await self._lost(error)
            return False
        return True

    async def _lost(self, error: BaseException) -> None:
        log.warning("broker_lost", error=repr(error))
        await self.close()

    async def check(self) -> None:
        """Raise `UnavailableError` unless the broker answers: what `/ready` asks."""
        if self._connection is None or self._connection.is_closed:
            raise UnavailableError("the broker is not connected")

    async def close(self) -> None:
        """Close the connection; what is not acknowledged goes back to the queue."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(*_FAILURES):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.close()

    async def _from_queue(self) -> Claim | None:
        channel = await self._open()
        queue = await channel.get_queue(amqp.QUEUE, ensure=False)
        received: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        tag = await queue.consume(received.put)
        try:
            message = await self._receive(received, channel)
        finally:
            await queue.cancel(tag)
        if message is None:
            # One may have come between the last look and the unsubscription.
            if received.empty():
                return None
            message = received.get_nowait()
        return await self._take(message)

    async def _receive(
        self, received: asyncio.Queue[AbstractIncomingMessage], channel: AbstractChannel
    ) -> AbstractIncomingMessage | None:
        getting = asyncio.create_task(received.get())
        closed = asyncio.ensure_future(channel.closed())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            deadline = time.monotonic() + self._sweep_seconds
            while not getting.done():
                left = deadline - time.monotonic()
                await asyncio.wait(
                    {getting, closed, stopping},
                    timeout=max(0.0, min(left, _LOOK_SECONDS)),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if closed.done() and not getting.done():
                    raise ConnectionError("the broker closed the channel")
                if getting.done() or stopping.done() or left <= _LOOK_SECONDS or await self._one_is_due():
                    break
            # A message may have come during the last question.
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            closed.cancel()
            stopping.cancel()

    async def _one_is_due(self) -> bool:
        with suppress(UnavailableError):
            return await self._developments.one_is_due()
        return False

    async def _take(self, message: AbstractIncomingMessage) -> Claim | None:
        try:
            claim = await self._claim(message)
        except Exception:
            # Unanswered it would keep this consumer, which holds one at a time, from every other.
            with suppress(*_FAILURES):
                await message.nack(requeue=True)
            raise
        await self._acknowledge(message)
        return claim

    async def _claim(self, message: AbstractIncomingMessage) -> Claim | None:
        development_id = _development_id(message)
        if development_id is None or not await self._developments.exists(development_id):
            reason = "the message names no development" if development_id is None else "there is no such development"
            log.warning("message_refused", reason=reason, message_id=message.message_id)
            await self.errors.publish(_readable(message), f"{reason}: it cannot be worked on")
            return None
        claim = await self._developments.claim(development_id)
        if claim is None:
            log.info("message_of_taken_development", development_id=development_id)
        return claim

    async def _acknowledge(self, message: AbstractIncomingMessage) -> None:
        """A claim holds whatever becomes of its message: one that comes again finds a development that is taken."""
        try:
            await message.ack()
        except _FAILURES as error:
            log.warning("message_not_acknowledged", error=repr(error))
        except asyncio.CancelledError as error:
            # As in `next_claim`.
            if _cancelled():
                raise
            log.warning("message_not_acknowledged", error=repr(error))

    async def _open(self) -> AbstractChannel:
        # Notices are published while messages are waited for.
        async with self._opening:
            if self._connection is not None and self._channel is not None and not self._channel.is_closed:
                return self._channel
            await self.close()
            self._connection = await amqp.connect(self._settings, application=self._name)
            self._channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._channel.set_qos(prefetch_count=1)
            log.info("broker_connected")
            return self._channel


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _development_id(message: AbstractIncomingMessage) -> str | None:
    try:
        body = orjson.loads(message.body)
    except orjson.JSONDecodeError:
        return None
    value = body.get("development_id") if isinstance(body, dict) else None
    return value if isinstance(value, str) and value else None


def _readable(message: aio_pika.abc.AbstractIncomingMessage) -> object:
    try:
        return orjson.loads(message.body)
    except orjson.JSONDecodeError:
        return message.body[:_PREVIEW].decode(errors="replace")
