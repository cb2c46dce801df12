"""The queue for what failed."""

from collections.abc import Awaitable, Callable

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import AMQPException

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError

_CONFIRM_SECONDS = 10.0

_FAILURES = (AMQPError, AMQPException, OSError, TimeoutError, RuntimeError)


class ErrorQueue:
    """Publishes to exchange `develop_error`, whose only queue has the same name, confirmed."""

    def __init__(self, open_channel: Callable[[], Awaitable[AbstractChannel]]) -> None:
        self._open = open_channel

    async def publish(self, original_message: object, error: str) -> None:
        """Send `{original_message, error, timestamp}`. Raises `UnavailableError` when the broker does not take it."""
        body = {"original_message": original_message, "error": error, "timestamp": now()}
        message = aio_pika.Message(
            orjson.dumps(body, option=orjson.OPT_UTC_Z),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            type="development.failed",
        )
        try:
            channel = await self._open()
            exchange = await channel.get_exchange(amqp.ERROR_EXCHANGE, ensure=False)
            await exchange.publish(message, amqp.ERROR_QUEUE, mandatory=True, timeout=_CONFIRM_SECONDS)
        except _FAILURES as problem:
            raise UnavailableError(f"develop_error did not take a message: {type(problem).__name__}") from problem
