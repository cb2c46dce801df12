"""The queue for what failed."""

import orjson

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.ids import new_id


class ErrorQueue:
    """Publishes to exchange `develop_error`, whose only queue has the same name, confirmed."""

    def __init__(self, connection: amqp.Connection) -> None:
        self._connection = connection

    async def publish(self, original_message: object, error: str) -> None:
        """Send `{original_message, error, timestamp}`. Raises `UnavailableError` when the broker does not take it."""
        body = {"original_message": original_message, "error": error, "timestamp": now()}
        message = amqp.Message(
            orjson.dumps(body, option=orjson.OPT_UTC_Z),
            exchange=amqp.ERROR_EXCHANGE,
            routing_key=amqp.ERROR_QUEUE,
            message_id=new_id(),
            type="development.failed",
        )
        try:
            channel = await self._connection.open()
            [problem] = await channel.publish([message], amqp.CONFIRM_SECONDS)
        except amqp.BrokerError as away:
            problem = away
        if problem is not None:
            raise UnavailableError(f"develop_error did not take a message: {problem.message}") from problem
