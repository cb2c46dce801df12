"""Exchanges and queues of tests, made and looked at through the product's own connection."""

import asyncio
from dataclasses import dataclass
from typing import Any

from pika.spec import Basic

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.ids import new_id


@dataclass(frozen=True)
class Received:
    """A message that was taken from a queue."""

    body: bytes
    routing_key: str
    redelivered: bool
    properties: Any


@dataclass(frozen=True)
class Queue:
    """A queue of the broker."""

    channel: amqp.Channel
    name: str

    async def bind(self, exchange: str, key: str = "") -> None:
        """Have it take what the exchange gets under a key."""
        await self.channel.call("queue_bind", queue=self.name, exchange=exchange, routing_key=key)

    async def unbind(self, exchange: str, key: str = "") -> None:
        """End that."""
        await self.channel.call("queue_unbind", queue=self.name, exchange=exchange, routing_key=key)

    async def count(self) -> int:
        """How many messages wait in it."""
        reply = await self.channel.call("queue_declare", queue=self.name, passive=True)
        return int(reply.message_count)

    async def purge(self) -> None:
        """Empty it."""
        await self.channel.call("queue_purge", queue=self.name)

    async def get(self) -> Received | None:
        """Take the first message, which is done with then; None when there is none."""
        found: asyncio.Future[Received | None] = asyncio.get_running_loop().create_future()

        def take(_: object, method: Any, properties: Any, body: bytes) -> None:
            found.set_result(Received(body, method.routing_key, method.redelivered, properties))

        def nothing(_: object) -> None:
            if not found.done():  # pika keeps it until a queue is empty
                found.set_result(None)

        self.channel.pika.add_callback(nothing, [Basic.GetEmpty])
        self.channel.pika.basic_get(self.name, take, auto_ack=True)
        return await found

    async def next_message(self, seconds: float = 10.0) -> Received:
        """Take the next message; fails when none comes in time."""
        async with asyncio.timeout(seconds):
            while (message := await self.get()) is None:  # noqa: ASYNC110 - the broker says nothing by itself
                await asyncio.sleep(0.02)
        return message


async def publish(channel: amqp.Channel, body: bytes, exchange: str, key: str) -> None:
    """Send a message to an exchange; fails when no queue takes it."""
    message = amqp.Message(body, exchange, key, message_id=new_id(), type="test")
    assert await channel.publish([message], amqp.CONFIRM_SECONDS) == [None]


async def declare_exchange(channel: amqp.Channel, name: str, kind: str) -> None:
    """Have an exchange that outlives the broker's restart."""
    await channel.call("exchange_declare", exchange=name, exchange_type=kind, durable=True)


async def declare_queue(channel: amqp.Channel, name: str, **arguments: Any) -> Queue:
    """Have a quorum queue."""
    arguments = {"x-queue-type": "quorum", **arguments}
    await channel.call("queue_declare", queue=name, durable=True, arguments=arguments)
    return Queue(channel, name)


async def declare_product(channel: amqp.Channel) -> tuple[Queue, Queue]:
    """The product's exchanges and queues, as the rabbitmq role makes them: `develop` and `develop_error`."""
    await declare_exchange(channel, amqp.EXCHANGE, "topic")
    develop = await declare_queue(channel, amqp.QUEUE)
    await develop.bind(amqp.EXCHANGE, amqp.routing_key("*"))
    await declare_exchange(channel, amqp.ERROR_EXCHANGE, "fanout")
    errors = await declare_queue(channel, amqp.ERROR_QUEUE)
    await errors.bind(amqp.ERROR_EXCHANGE)
    return develop, errors


async def remove_product(channel: amqp.Channel) -> None:
    """Remove them again."""
    for queue in (amqp.QUEUE, amqp.ERROR_QUEUE):
        await channel.call("queue_delete", queue=queue)
    for exchange in (amqp.EXCHANGE, amqp.ERROR_EXCHANGE):
        await channel.call("exchange_delete", exchange=exchange)
