"""The connection to RabbitMQ, against a real one: confirms, returns, refusals, and what is lost when it breaks."""

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pika.frame import Method
from pika.spec import Basic
from pydantic import SecretStr

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.amqp import BrokerError, Channel, Connection, Message, NotTakenError, UnconfirmedError
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.settings import AmqpSettings
from support.backends import EveryService, MakeSettings
from support.engines import rabbitmq
from support.processes import free_port
from support.proxy import CuttableProxy
from support.queues import Queue, declare_exchange, declare_queue
from support.waiting import until

SECONDS = 10.0


@pytest.fixture
def name() -> str:
    """An exchange and a queue that no other test has."""
    return f"amqp-{secrets.token_hex(4)}"


@pytest.fixture
async def connection(make_settings: MakeSettings, rabbitmq_proxy: CuttableProxy) -> AsyncIterator[Connection]:
    """A connection that can be cut."""
    made = Connection(make_settings(EveryService, rabbitmq_url=rabbitmq_proxy.url), application="tests", prefetch=1)
    yield made
    rabbitmq_proxy.thaw()
    await made.close()


@pytest.fixture
async def queue(every_service: EveryService, name: str) -> AsyncIterator[Queue]:
    """A queue, bound to an exchange of the same name for keys `known.*`; looked at through another connection."""
    watching = Connection(every_service, application="tests")
    channel = await watching.open()
    await declare_exchange(channel, name, "topic")
    made = await declare_queue(channel, name)
    await made.bind(name, "known.*")
    yield made
    channel = await watching.open()
    await channel.call("queue_delete", queue=name)
    await channel.call("exchange_delete", exchange=name)
    await watching.close()


def message(exchange: str, key: str = "known.a", message_id: str = "", body: bytes = b"{}") -> Message:
    return Message(body, exchange, key, message_id or new_id(), "test")


def messages_for(queue: Queue, number: int, key: str = "known.a") -> list[Message]:
    return [message(queue.name, key) for _ in range(number)]


def answer(method: Basic.Ack | Basic.Nack) -> Method[Any]:
    return Method(1, method)


def kinds(outcomes: list[BrokerError | None]) -> list[type[BrokerError] | None]:
    return [None if outcome is None else type(outcome) for outcome in outcomes]


async def soon(condition: bool) -> bool:  # noqa: FBT001
    return condition


@pytest.fixture
def acks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the broker answered, and how often for several messages at once."""
    seen: Counter[str] = Counter()
    on_confirm = Channel._on_confirm

    def count(channel: Channel, frame: Any) -> None:
        seen[type(frame.method).__name__ + (" multiple" if frame.method.multiple else "")] += 1
        on_confirm(channel, frame)

    monkeypatch.setattr(Channel, "_on_confirm", count)
    return seen


@pytest.mark.parametrize("key", ["K" * 300, "Ü" * 300])
async def test_a_routing_key_is_cut_to_what_amqp_takes(connection: Connection, queue: Queue, key: str) -> None:
    cut = amqp.routing_key(key)
    assert cut.startswith(f"webhook.development.{key[:100]}")
    assert kinds(await (await connection.open()).publish([message(queue.name, cut)], SECONDS)) == [NotTakenError]


async def test_a_message_that_was_confirmed_is_in_the_queue(connection: Connection, queue: Queue) -> None:
    channel = await connection.open()
    sent = message(queue.name, body='{"text": "grüße"}'.encode())
    assert await channel.publish([sent], SECONDS) == [None]
    received = await queue.next_message()
    assert received.body == sent.body
    assert received.routing_key == sent.routing_key
    properties = received.properties
    assert (properties.message_id, properties.type, properties.delivery_mode) == (sent.message_id, "test", 2)
    assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")


async def test_many_messages_are_confirmed_together_and_all_are_there_in_their_order(
    connection: Connection, queue: Queue, acks: Counter[str]
) -> None:
    channel = await connection.open()
    sent = messages_for(queue, 1000)
    assert await channel.publish(sent, SECONDS) == [None] * 1000
    assert acks["Ack multiple"] > 0, "the broker confirmed several at once"
    assert acks.total() < 1000
    received = [(await queue.next_message()).properties.message_id for _ in range(1000)]
    assert received == [one.message_id for one in sent]


async def test_several_publishers_share_a_channel(connection: Connection, queue: Queue) -> None:
    channel = await connection.open()
    batches = [[message(queue.name, "known.a" if index % 3 else "unknown") for index in range(20)] for _ in range(10)]
    outcomes = await asyncio.gather(*(channel.publish(batch, SECONDS) for batch in batches))
    assert [kinds(found) for found in outcomes] == [[None if i % 3 else NotTakenError for i in range(20)]] * 10
    assert await queue.count() == 130


async def test_nothing_to_publish_needs_no_answer(connection: Connection) -> None:
    assert await (await connection.open()).publish([], SECONDS) == []


async def test_what_no_queue_takes_fails_though_it_is_acknowledged_and_the_others_do_not(
    connection: Connection, queue: Queue, acks: Counter[str]
) -> None:
    channel = await connection.open()
    batch = [message(queue.name, key) for key in ("known.a", "unknown.a", "known.b", "unknown.b")]
    taken, first, also_taken, second = await channel.publish(batch, SECONDS)
    assert (taken, also_taken) == (None, None)
    assert isinstance(first, NotTakenError)
    assert first.message == f"no queue takes messages with the key unknown.a at exchange {queue.name}: 312 NO_ROUTE"
    assert isinstance(second, NotTakenError)
    assert "unknown.b" in second.message
    assert set(acks) <= {"Ack", "Ack multiple"}
    assert await channel.publish([message(queue.name)], SECONDS) == [None], "the channel is as good as before"


async def test_of_two_messages_with_one_id_the_returned_one_fails(connection: Connection, queue: Queue) -> None:
    channel = await connection.open()
    batch = [message(queue.name, key, "the same") for key in ("known.a", "unknown", "known.a", "unknown")]
    assert kinds(await channel.publish(batch, SECONDS)) == [None, NotTakenError, None, NotTakenError]


async def test_a_full_queue_refuses(connection: Connection, queue: Queue, acks: Counter[str]) -> None:
    full = f"{queue.name}-full"
    arguments = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    await declare_queue(queue.channel, full, **arguments)
    try:
        await Queue(queue.channel, full).bind(queue.name, "full")
        channel = await connection.open()
        batch = [message(queue.name, key) for key in ("full", "full", "known.a", "full")]
        taken, refused, other, also_refused = await channel.publish(batch, SECONDS)
        assert (taken, other) == (None, None)
        assert isinstance(refused, NotTakenError)
        assert isinstance(also_refused, NotTakenError)
        assert refused.message == "the broker refused a message"
        assert acks["Nack"] + acks["Nack multiple"] > 0
        assert await channel.publish([message(queue.name)], SECONDS) == [None]
    finally:
        await queue.channel.call("queue_delete", queue=full)


OK, NO = None, NotTakenError


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([Basic.Ack(3, multiple=True), Basic.Nack(4), Basic.Ack(5)], [OK, OK, OK, NO, OK]),
        ([Basic.Ack(2), Basic.Nack(3, multiple=True), Basic.Ack(0, multiple=True)], [NO, OK, NO, OK, OK]),
        ([Basic.Ack(5), Basic.Ack(1), Basic.Ack(1), Basic.Ack(9), Basic.Nack(0, multiple=True)], [OK, NO, NO, NO, OK]),
    ],
)
async def test_every_way_in_which_a_broker_may_answer_settles_what_it_names(
    connection: Connection, queue: Queue, monkeypatch: pytest.MonkeyPatch, answers: list[Any], expected: list[Any]
) -> None:
    """The broker decides how it groups its answers: here each way is had, in place of what it said itself."""
    channel = await connection.open()
    heard = asyncio.Event()
    monkeypatch.setattr(channel.pika, "basic_publish", lambda *_, **__: heard.set())
    publishing = asyncio.create_task(channel.publish(messages_for(queue, 5), SECONDS))
    await heard.wait()
    for method in answers:
        channel._on_confirm(answer(method))
    assert kinds(await publishing) == expected


async def test_a_connection_that_is_cut_in_the_middle_of_confirms_fails_every_waiting_publish(
    connection: Connection, queue: Queue, rabbitmq_proxy: CuttableProxy
) -> None:
    channel = await connection.open()
    assert await channel.publish([message(queue.name)], SECONDS) == [None]
    rabbitmq_proxy.freeze()
    waiting = [asyncio.create_task(channel.publish(messages_for(queue, 50), 60)) for _ in range(3)]
    await asyncio.wait(waiting, timeout=0.2)
    await rabbitmq_proxy.cut()
    for outcomes in await asyncio.wait_for(asyncio.gather(*waiting), 5):
        assert kinds(outcomes) == [BrokerError] * 50
        assert "StreamLostError" in (outcomes[0] or BrokerError("")).message
    assert not channel.is_open
    with pytest.raises(BrokerError):
        await channel.publish([message(queue.name)], SECONDS)
    with pytest.raises(BrokerError):
        await connection.open()
    await rabbitmq_proxy.mend()
    assert await (await connection.open()).publish([message(queue.name)], SECONDS) == [None]


async def test_what_was_confirmed_before_the_cut_is_told_apart(
    connection: Connection, queue: Queue, rabbitmq_proxy: CuttableProxy
) -> None:
    channel = await connection.open()
    rabbitmq_proxy.freeze()
    publishing = asyncio.create_task(channel.publish(messages_for(queue, 3), 60))
    await asyncio.wait({publishing}, timeout=0.1)
    channel._on_confirm(answer(Basic.Ack(2)))  # the only answer that came through
    await rabbitmq_proxy.cut()
    assert kinds(await publishing) == [BrokerError, None, BrokerError]


async def test_a_wait_that_is_cancelled_loses_no_count(
    connection: Connection, queue: Queue, rabbitmq_proxy: CuttableProxy
) -> None:
    channel = await connection.open()
    rabbitmq_proxy.freeze()
    given_up = asyncio.create_task(channel.publish(messages_for(queue, 7, "unknown"), 60))
    stays = asyncio.create_task(channel.publish([message(queue.name, k) for k in ("known.a", "unknown")], 60))
    await asyncio.wait({given_up, stays}, timeout=0.2)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    rabbitmq_proxy.thaw()
    assert kinds(await stays) == [None, NotTakenError]
    assert kinds(await channel.publish([message(queue.name, "unknown"), message(queue.name)], SECONDS)) == [
        NotTakenError,
        None,
    ]


async def test_what_is_not_confirmed_in_time_is_unknown_and_its_late_confirm_disturbs_nobody(
    connection: Connection, queue: Queue, rabbitmq_proxy: CuttableProxy
) -> None:
    channel = await connection.open()
    rabbitmq_proxy.freeze()
    late = await channel.publish([message(queue.name), message(queue.name)], 0.2)
    assert kinds(late) == [UnconfirmedError] * 2
    rabbitmq_proxy.thaw()
    assert kinds(await channel.publish([message(queue.name, k) for k in ("unknown", "known.a")], SECONDS)) == [
        NotTakenError,
        None,
    ]
    assert kinds(late) == [UnconfirmedError] * 2, "what was told stays told"
    assert await queue.count() == 3


async def test_a_message_that_cannot_be_encoded_fails_alone_and_uses_no_number(
    connection: Connection, queue: Queue
) -> None:
    channel = await connection.open()
    batch = [message(queue.name), message(queue.name, message_id="x" * 256), message(queue.name, "unknown")]
    assert kinds(await channel.publish(batch, SECONDS)) == [None, NotTakenError, NotTakenError]
    assert await channel.publish([message(queue.name)], SECONDS) == [None]


async def test_an_exchange_that_is_missing_closes_the_channel_and_says_so(connection: Connection, name: str) -> None:
    channel = await connection.open()
    outcomes = await channel.publish([message(f"{name}-missing"), message(f"{name}-missing")], SECONDS)
    assert kinds(outcomes) == [BrokerError] * 2
    assert "404" in (outcomes[0] or BrokerError("")).message
    assert not channel.is_open
    assert (await connection.open()).is_open, "another one is opened"


async def test_a_call_that_the_broker_refuses_fails_with_its_reason_and_so_do_all_that_wait(
    connection: Connection, queue: Queue
) -> None:
    channel = await connection.open()
    refused = channel.call("queue_declare", queue=queue.name, durable=False)
    behind = channel.call("queue_declare", queue=queue.name, passive=True)
    found = await asyncio.gather(refused, behind, return_exceptions=True)
    assert [type(error) for error in found] == [BrokerError] * 2
    assert "406" in str(found[0])


async def test_access_that_is_refused_fails_with_its_reason(connection: Connection) -> None:
    channel = await connection.open()
    with pytest.raises(BrokerError, match="403"):
        await channel.call("exchange_declare", exchange="amq.reserved", exchange_type="topic", durable=True)


async def test_messages_are_taken_one_at_a_time_and_only_the_acknowledged_are_gone(
    connection: Connection, queue: Queue
) -> None:
    channel = await connection.open()
    await channel.publish([message(queue.name, body=body) for body in (b"1", b"2", b"3")], SECONDS)
    async with channel.consume(queue.name) as messages:
        first = await messages.next()
        assert (first.body, first.redelivered) == (b"1", False)
        assert messages.at_hand() is None
        assert await queue.count() == 2
        first.ack()
        second = await messages.next()
        assert second.body == b"2"
        second.give_back()
        again = await messages.next()
        assert (again.body, again.redelivered) == (b"2", True)
    again.ack()
    await until(lambda: _counts(queue, 1))
    await connection.close()
    assert (await queue.next_message()).body == b"3"


async def _counts(queue: Queue, number: int) -> bool:
    return await queue.count() == number


async def test_a_message_that_was_not_answered_goes_back_when_the_connection_ends(
    connection: Connection, queue: Queue
) -> None:
    channel = await connection.open()
    await channel.publish([message(queue.name)], SECONDS)
    async with channel.consume(queue.name) as messages:
        held = await messages.next()
    await connection.close()
    assert (await queue.next_message()).redelivered
    with pytest.raises(BrokerError):
        held.ack()
    with pytest.raises(BrokerError):
        held.give_back()


@pytest.mark.parametrize("how", ["cut", "queue deleted"])
async def test_who_waits_for_a_message_is_told_that_none_can_come(
    connection: Connection, queue: Queue, rabbitmq_proxy: CuttableProxy, how: str
) -> None:
    channel = await connection.open()
    own = f"{queue.name}-own"
    await declare_queue(channel, own)
    async with channel.consume(own) as messages:
        waiting = asyncio.create_task(messages.next())
        if how == "cut":
            await rabbitmq_proxy.cut()
        await queue.channel.call("queue_delete", queue=own)
        with pytest.raises(BrokerError):
            await waiting


async def test_a_subscription_ends_with_its_block(connection: Connection, queue: Queue) -> None:
    channel = await connection.open()
    async with channel.consume(queue.name) as messages:
        pass
    await channel.publish([message(queue.name)], SECONDS)
    assert (await queue.next_message()).redelivered is False
    assert messages.at_hand() is None


async def test_a_connection_is_opened_once_for_all_who_ask(connection: Connection) -> None:
    with pytest.raises(BrokerError):
        await connection.check()
    channels = await asyncio.gather(*(connection.open() for _ in range(5)))
    assert len(set(map(id, channels))) == 1
    await connection.check()
    await connection.close()
    await connection.close()
    with pytest.raises(BrokerError):
        await connection.check()


async def test_a_broker_that_is_away_is_named_as_the_reason(make_settings: MakeSettings) -> None:
    settings = make_settings(EveryService, rabbitmq_url=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    with pytest.raises(BrokerError, match="the broker is not available: ConnectionRefusedError"):
        await Connection(settings, application="tests").open()


async def test_a_broker_whose_certificate_is_another_s_is_refused(every_service: EveryService) -> None:
    settings = every_service.model_copy(update={"rabbitmq_tls_ca_file": None})
    with pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"):
        await Connection(settings, application="tests").open()


async def test_a_wrong_password_is_refused(every_service: EveryService) -> None:
    url = every_service.rabbitmq_url.get_secret_value()
    user, at, rest = url.rpartition("@")
    wrong = SecretStr(f"{user}x{at}{rest}")
    with pytest.raises(BrokerError, match=r"ProbableAuthenticationError|ACCESS_REFUSED|403"):
        await Connection(every_service.model_copy(update={"rabbitmq_url": wrong}), application="tests").open()


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
async def test_a_broker_that_says_nothing_is_not_waited_for(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(amqp, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:  # the system answers for it, and says nothing
        port = server.getsockname()[1]
        settings = make_settings(EveryService, rabbitmq_url=f"{scheme}://guest:guest@127.0.0.1:{port}/")
        connection = Connection(settings, application="tests")
        with pytest.raises(BrokerError, match="in time"):
            await connection.open()
        monkeypatch.setattr(amqp, "CONNECT_SECONDS", 60)
        opening = asyncio.create_task(connection.open())
        await asyncio.wait({opening}, timeout=0.2)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


@pytest.mark.timeout(120)
async def test_a_broker_that_blocks_takes_nothing_new_until_it_unblocks() -> None:
    async with rabbitmq() as engine:
        await engine.ready()
        settings = AmqpSettings(rabbitmq_url=SecretStr(engine.url))
        connection = Connection(settings, application="tests")
        channel = await connection.open()
        key = amqp.routing_key("T")
        assert await channel.publish([message(amqp.EXCHANGE, key)], SECONDS) == [None]
        await engine.run("rabbitmqctl", "set_vm_memory_high_watermark", "absolute", "1MB")
        # The broker tells a connection of it when that publishes.
        assert kinds(await channel.publish([message(amqp.EXCHANGE, key)], 1)) in ([UnconfirmedError], [None])
        await until(lambda: soon(channel.blocked is not None))
        with pytest.raises(BrokerError, match="the broker takes no messages now: low on memory"):
            await channel.publish([message(amqp.EXCHANGE, key)], SECONDS)
        with pytest.raises(BrokerError):
            channel.check()
        assert channel.is_open
        await engine.run("rabbitmqctl", "set_vm_memory_high_watermark", "0.6")
        await until(lambda: soon(channel.blocked is None))
        assert await channel.publish([message(amqp.EXCHANGE, key)], SECONDS) == [None]
        await connection.close()
