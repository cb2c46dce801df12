"""Where work comes from: the queue's messages, and the developments that no message will bring.

A message is taken only when this consumer is idle: it subscribes, takes one, unsubscribes, claims the development,
acknowledges, and works. So no message waits behind a long run, and none is held unacknowledged during one. While it
waits, it looks each second whether a development is to be begun that no message will tell of: one that is to be
retried, or that waited for the end of an earlier run of its ticket.
"""

import asyncio
import time
from contextlib import suppress

import orjson
import structlog

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.error_queue import ErrorQueue
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.errors import UnavailableError

_RECONNECT_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_PREVIEW = 100_000

log = structlog.get_logger()


class Intake:
    """Claims, one after another, until `stop` is set.

    Its connection holds one unanswered message at most (`prefetch=1`); what names no development goes to `errors`.
    """

    def __init__(
        self,
        connection: amqp.Connection,
        errors: ErrorQueue,
        developments: ClaimRepository,
        metrics: AgentMetrics,
        stop: asyncio.Event,
        *,
        sweep_seconds: float,
    ) -> None:
        self._connection = connection
        self._errors = errors
        self._developments = developments
        self._metrics = metrics
        self._stop = stop
        self._sweep_seconds = sweep_seconds

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
            except amqp.BrokerError as error:
                await self._lost(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), _RECONNECT_SECONDS)
        return None

    async def _connected(self) -> bool:
        try:
            await self._connection.open()
        except amqp.BrokerError as error:
            await self._lost(error)
            return False
        return True

    async def _lost(self, error: amqp.BrokerError) -> None:
        log.warning("broker_lost", error=error.message)
        await self._connection.close()

    async def _from_queue(self) -> Claim | None:
        channel = await self._connection.open()
        async with channel.consume(amqp.QUEUE) as subscription:
            message = await self._receive(subscription)
        if message is None:
            # One may have come between the last look and the unsubscription.
            message = subscription.at_hand()
        return None if message is None else await self._take(message)

    async def _receive(self, subscription: amqp.Subscription) -> amqp.Delivery | None:
        getting = asyncio.create_task(subscription.next())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            deadline = time.monotonic() + self._sweep_seconds
            while not getting.done():
                left = deadline - time.monotonic()
                await asyncio.wait(
                    {getting, stopping},
                    timeout=max(0.0, min(left, _LOOK_SECONDS)),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if getting.done() or stopping.done() or left <= _LOOK_SECONDS or await self._one_is_due():
                    break
            # A message may have come during the last question.
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()
            stopping.cancel()

    async def _one_is_due(self) -> bool:
        with suppress(UnavailableError):
            return await self._developments.one_is_due()
        return False

    async def _take(self, message: amqp.Delivery) -> Claim | None:
        try:
            claim = await self._claim(message)
        except Exception:
            # Unanswered it would keep this consumer, which holds one at a time, from every other.
            with suppress(amqp.BrokerError):
                message.give_back()
            raise
        self._acknowledge(message)
        return claim

    async def _claim(self, message: amqp.Delivery) -> Claim | None:
        development_id = _development_id(message)
        if development_id is None or not await self._developments.exists(development_id):
            reason = "the message names no development" if development_id is None else "there is no such development"
            log.warning("message_refused", reason=reason, message_id=message.message_id)
            await self._errors.publish(_readable(message), f"{reason}: it cannot be worked on")
            return None
        claim = await self._developments.claim(development_id)
        if claim is None:
            log.info("message_of_taken_development", development_id=development_id)
        return claim

    def _acknowledge(self, message: amqp.Delivery) -> None:
        """A claim holds whatever becomes of its message: one that comes again finds a development that is taken."""
        try:
            message.ack()
        except amqp.BrokerError as error:
            log.warning("message_not_acknowledged", error=error.message)


def _development_id(message: amqp.Delivery) -> str | None:
    try:
        body = orjson.loads(message.body)
    except orjson.JSONDecodeError:
        return None
    value = body.get("development_id") if isinstance(body, dict) else None
    return value if isinstance(value, str) and value else None


def _readable(message: amqp.Delivery) -> object:
    try:
        return orjson.loads(message.body)
    except orjson.JSONDecodeError:
        return message.body[:_PREVIEW].decode(errors="replace")
