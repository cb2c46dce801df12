"""RabbitMQ, asked by clients on the host itself: which doors are shut, and what each user may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from wiring import constants, port, text

# An AMQP 0-9-1 client that is just large enough (https://www.rabbitmq.com/amqp-0-9-1-reference): it runs
# on the host with nothing installed, and gets facts and passwords with itself on standard input.
CLIENT = constants(PORT=port("rabbitmq_tls_port"), CA=f"{text('pki_directory')}/ca.crt", VHOST=text("rabbitmq_vhost"))
CLIENT += r"""
import json, socket, ssl, struct

def short(text):
    return bytes([len(text)]) + text.encode()

def long(data):
    return struct.pack(">I", len(data)) + data

class Refused(Exception):
    pass

class Connection:
    def __init__(self, user, password, vhost=VHOST):
        context = ssl.create_default_context(cafile=CA)
        plain = socket.create_connection(("127.0.0.1", PORT), timeout=10)
        self.stream = context.wrap_socket(plain, server_hostname="localhost").makefile("rwb")
        self.stream.write(b"AMQP\x00\x00\x09\x01")
        self.expect(10, 10)
        self.method(0, 10, 11, long(b"") + short("PLAIN") + long(f"\0{user}\0{password}".encode()) + short("en_US"))
        try:
            self.expect(10, 30)
        except EOFError:
            raise Refused("login") from None
        self.method(0, 10, 31, struct.pack(">HIH", 1, 131072, 0))
        self.method(0, 10, 40, short(vhost) + short("") + b"\0")
        self.expect(10, 41)
        self.method(1, 20, 10, short(""))
        self.expect(20, 11)

    def frame(self, kind, channel, payload):
        self.stream.write(struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce")
        self.stream.flush()

    def method(self, channel, group, number, arguments):
        self.frame(1, channel, struct.pack(">HH", group, number) + arguments)

    def receive(self):
        self.stream.flush()
        head = self.stream.read(7)
        if len(head) < 7:
            raise EOFError
        kind, _, size = struct.unpack(">BHI", head)
        payload = self.stream.read(size)
        self.stream.read(1)
        return kind, payload

    def expect(self, *wanted):
        while True:
            kind, payload = self.receive()
            if kind != 1:
                continue
            method = struct.unpack(">HH", payload[:4])
            if method == wanted:
                return payload[4:]
            if method in ((10, 50), (20, 40)):
                raise Refused(struct.unpack(">H", payload[4:6])[0])
            if method == (60, 50):
                raise Refused("unroutable")

    def declare(self, queue):
        self.method(1, 50, 10, struct.pack(">H", 0) + short(queue) + b"\x02" + long(b""))
        self.expect(50, 11)

    def consume(self, queue):
        self.method(1, 60, 20, struct.pack(">H", 0) + short(queue) + short("") + b"\0" + long(b""))
        self.expect(60, 21)

    def get(self, queue):
        self.method(1, 60, 70, struct.pack(">H", 0) + short(queue) + b"\0")
        self.expect(60, 71)

    def publish(self, exchange, key):
        self.method(1, 85, 10, b"\0")
        self.expect(85, 11)
        self.method(1, 60, 40, struct.pack(">H", 0) + short(exchange) + short(key) + b"\x01")
        self.frame(2, 1, struct.pack(">HHQH", 60, 0, 2, 0))
        self.frame(3, 1, b"{}")
        self.expect(60, 80)

def act(user, password, action=None, *arguments, **options):
    try:
        connection = Connection(user, password, **options)
        if action:
            getattr(connection, action)(*arguments)
    except Refused as refused:
        return {"refused": refused.args[0]}
    return "done"

def handshake(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CA)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                return secured.version()
        except ssl.SSLError as error:
            return error.reason

print(json.dumps(globals()[CALL](*ARGUMENTS, **OPTIONS)))
"""
EXCHANGE, KEYS, QUEUE = (text(f"broker_{name}") for name in ("request_exchange", "request_keys", "queue"))
ERROR_EXCHANGE, ERROR_QUEUE = text("broker_error_exchange"), text("broker_error_queue")
TLS, METRICS = port("rabbitmq_tls_port"), port("rabbitmq_prometheus_port")
INTERNAL = {METRICS, port("rabbitmq_epmd_port"), port("rabbitmq_distribution_port")}
ACCESS_REFUSED, NOT_ALLOWED = 403, 530

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def on_host(client_on_host: Callable[[str, str], Ask], lab: Any) -> Ask:
    """Call a function of CLIENT on the broker's host."""
    return client_on_host(CLIENT, lab.broker_address)


@pytest.fixture(scope="module")
def act(on_host: Ask, secrets: Mapping[str, str]) -> Ask:
    """Do something as one of the broker's users."""

    def call(user: str, *action: str, **options: str) -> Any:
        return on_host("act", user, secrets[f"secret_rabbitmq_{user}_password"], *action, **options)

    return call


def test_only_the_tls_port_is_open(broker: Any) -> None:
    assert broker.socket(f"tcp://127.0.0.1:{TLS}").is_listening
    listening = broker.check_output("ss -Hlnt").split()
    assert not [address for address in listening if address.endswith((":5672", ":15672"))]


def test_what_is_not_for_clients_listens_on_loopback_alone(broker: Any) -> None:
    listening = [line.split()[3] for line in broker.check_output("ss -Hlnt").splitlines()]
    internal = [address for address in listening if int(address.rpartition(":")[2]) in INTERNAL]
    assert sorted(internal) == sorted(f"127.0.0.1:{number}" for number in INTERNAL)


def test_it_is_not_reached_from_another_host(lab: Any, outside: Any) -> None:
    for number in (TLS, 5672, 15672, *INTERNAL):
        assert outside.run(f"nc -z -w 2 {lab.broker_address} {number}").rc != 0, number


def test_it_speaks_tls_1_2_and_1_3_and_nothing_older(on_host: Ask) -> None:
    assert on_host("handshake", "TLSv1_2") == "TLSv1.2"
    assert on_host("handshake", "TLSv1_3") == "TLSv1.3"
    assert on_host("handshake", "TLSv1_1") == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_the_default_user_is_gone(on_host: Ask) -> None:
    assert on_host("act", "guest", "guest") == {"refused": "login"}


def test_a_wrong_password_is_refused(on_host: Ask) -> None:
    assert on_host("act", "webhook", "wrong") == {"refused": "login"}


def test_nobody_gets_into_the_default_virtual_host(act: Ask) -> None:
    assert act("webhook", vhost="/") == {"refused": NOT_ALLOWED}


@pytest.mark.parametrize(
    ("user", "action"),
    [
        ("webhook", ("consume", QUEUE)),
        ("webhook", ("declare", "another")),
        ("webhook", ("publish", EXCHANGE, "another.key")),
        ("webhook", ("publish", "", QUEUE)),
        ("consumer", ("publish", EXCHANGE, f"{KEYS}.TEST")),
        ("consumer", ("publish", "", QUEUE)),
        ("consumer", ("declare", "another")),
        ("consumer", ("get", ERROR_QUEUE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_user_may_not_do_what_its_service_does_not(act: Ask, user: str, action: tuple[str, ...]) -> None:
    assert act(user, *action) == {"refused": ACCESS_REFUSED}


def test_a_published_ticket_reaches_the_queue_and_a_failure_the_error_queue(
    act: Ask, broker: Any, eventually: Callable[..., Any]
) -> None:
    # Published to the error queue only: a message in `develop` would start the consumer.
    def waiting() -> int:
        return int(
            broker.check_output(
                f"rabbitmqctl -q --no-table-headers list_queues -p {text('rabbitmq_vhost')} name messages"
                f" | awk '$1 == \"{ERROR_QUEUE}\" {{print $2}}'"
            )
        )

    before = waiting()
    assert act("consumer", "publish", ERROR_EXCHANGE, ERROR_QUEUE) == "done"
    eventually(lambda: waiting() == before + 1)
    assert act("admin", "get", ERROR_QUEUE) == "done"


def test_the_webhooks_key_leads_to_the_develop_queue(broker: Any) -> None:
    exported = json.loads(broker.check_output("rabbitmqctl -q export_definitions -"))
    routes = {(b["source"], b["routing_key"], b["destination"]) for b in exported["bindings"]}
    assert routes == {(EXCHANGE, f"{KEYS}.*", QUEUE), (ERROR_EXCHANGE, "", ERROR_QUEUE)}
    assert {q["name"]: q["arguments"]["x-queue-type"] for q in exported["queues"]} == {
        QUEUE: "quorum",
        ERROR_QUEUE: "quorum",
    }
    assert sorted(user["name"] for user in exported["users"]) == ["admin", "consumer", "webhook"]


def test_the_backlog_of_each_queue_is_measured(broker: Any) -> None:
    metrics = broker.check_output(f"curl -fsS http://127.0.0.1:{METRICS}/metrics")
    assert f'rabbitmq_queue_messages{{vhost="{text("rabbitmq_vhost")}",queue="{QUEUE}"}}' in metrics


def test_its_limits_are_those_of_the_size(broker: Any) -> None:
    shown = broker.check_output("systemctl show rabbitmq-server -p MemoryMax -p CPUQuotaPerSecUSec").splitlines()
    assert set(shown) == {"MemoryMax=2147483648", "CPUQuotaPerSecUSec=1s"}
