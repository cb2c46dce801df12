from support.backends import Broker
import aio_pika
from sdlc_agents import amqp
async def test_x(broker: Broker) -> None:
    ex = await broker.channel.get_exchange(amqp.EXCHANGE)
    await ex.publish(aio_pika.Message(b"hi"), amqp.routing_key("X"))
    m = await broker.next_message()
    assert m.body == b"hi"
