from __future__ import annotations

import asyncio
import contextlib
import copy
import smtplib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.services import tls
from lab.services.alerts import mail
from lab.services.alerts.server import Alerts, build
from lab.services.https import Answer
from lab.services.httpserver import Server
from services.client import Client, close

TOKEN = "a-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}
WEBHOOK: dict[str, Any] = {
    "receiver": "team",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "ServiceDown", "instance": "appliance"},
            "annotations": {"summary": "nginx is down"},
            "startsAt": "2026-11-23T12:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://appliance:9091/graph",
            "fingerprint": "0123456789abcdef",
        }
    ],
    "groupLabels": {"alertname": "ServiceDown"},
    "commonLabels": {"alertname": "ServiceDown"},
    "commonAnnotations": {},
    "externalURL": "http://appliance:9093",
    "version": "4",
    "groupKey": '{}:{alertname="ServiceDown"}',
    "truncatedAlerts": 0,
}


@pytest.fixture
def client(serve: Callable[[Server], Client]) -> Client:
    return serve(build(Alerts(TOKEN)))


def post(client: Client, document: object, headers: dict[str, str] = AUTH) -> Answer:
    return client.call("POST", "/webhook", document, headers)


def test_an_alert_that_was_sent_can_be_read(client: Client) -> None:
    assert post(client, WEBHOOK).status == 200
    (alert,) = client.call("GET", "/_lab/alerts?alertname=ServiceDown&status=firing").json()["alerts"]
    assert (alert["labels"]["instance"], alert["receiver"]) == ("appliance", "team")
    assert client.call("GET", "/_lab/alerts?status=resolved").json()["alerts"] == []


def test_alerts_can_be_forgotten(client: Client) -> None:
    post(client, WEBHOOK)
    assert client.call("DELETE", "/_lab/alerts").status == 204
    assert client.call("GET", "/_lab/alerts").json()["alerts"] == []


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer x"}, {"authorization": f"Basic {TOKEN}"}])
def test_a_webhook_without_the_token_is_refused(client: Client, headers: dict[str, str]) -> None:
    assert post(client, WEBHOOK, headers).status == 401
    assert client.call("GET", "/_lab/alerts").json()["alerts"] == []


def changed(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    document = copy.deepcopy(WEBHOOK)
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "3"),
        (("status",), "pending"),
        (("status",), "resolved"),
        (("groupKey",), None),
        (("surprise",), 1),
        (("truncatedAlerts",), True),
        (("commonLabels",), {"a": 1}),
        (("alerts",), []),
        (("alerts", 0, "status"), "x"),
        (("alerts", 0, "fingerprint"), "xyz"),
        (("alerts", 0, "startsAt"), "now"),
        (("alerts", 0, "endsAt"), "2026-11-23T12:00:00"),
        (("alerts", 0, "generatorURL"), None),
        (("alerts", 0, "labels"), {"severity": "high"}),
        (("alerts", 0, "extra"), "x"),
    ],
)
def test_what_alertmanager_never_sends_is_refused(client: Client, path: tuple[str | int, ...], value: object) -> None:
    assert post(client, changed(path, value)).status == 400
    assert client.call("GET", "/_lab/alerts").json()["alerts"] == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"null"])
def test_a_body_that_is_no_json_object_is_refused(client: Client, content: bytes) -> None:
    assert post(client, content, {**AUTH, "content-type": "application/json"}).status == 400


def test_another_content_type_is_refused(client: Client) -> None:
    assert post(client, b"{}", {**AUTH, "content-type": "text/plain"}).status == 415


class Mail:
    def __init__(self, box: mail.Mailbox, port: int, trust: ssl.SSLContext) -> None:
        self.box = box
        self.trust = trust
        self._port = port

    @contextlib.contextmanager
    def session(self, *, encrypted: bool = True) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP("localhost", self._port, timeout=10) as session:
            if encrypted:
                session.starttls(context=self.trust)
            yield session


@pytest.fixture
def mailbox(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Iterator[Mail]:
    certificate, key = tls.issue(tmp_path, "mail", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    box = mail.Mailbox(context, TOKEN)

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(box.connected, "localhost", 0)

    listening = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    trust = ssl.create_default_context(cafile=str(tls.ensure_ca(tmp_path)))
    yield Mail(box, listening.sockets[0].getsockname()[1], trust)
    asyncio.run_coroutine_threadsafe(close(listening), loop).result(10)


TEXT = "Subject: [FIRING:1] ServiceDown\r\n\r\nnginx is down\r\n.a dot\r\n"


def test_mail_that_was_sent_can_be_read(mailbox: Mail) -> None:
    with mailbox.session() as session:
        session.login("alertmanager", TOKEN)
        session.sendmail("prometheus@appliance", ["ops@alerts.lab"], TEXT)
    (message,) = mailbox.box.messages
    assert message["subject"] == "[FIRING:1] ServiceDown"
    assert message["to"] == ["ops@alerts.lab"]
    assert "nginx is down\n.a dot" in str(message["body"])


def test_mail_wants_encryption_first(mailbox: Mail) -> None:
    with mailbox.session(encrypted=False) as session:
        assert session.docmd("AUTH", "PLAIN AGEAYg==")[0] == 503
        session.ehlo()
        assert session.docmd("MAIL", "FROM:<a@b.c>")[0] == 530
    assert not mailbox.box.messages


def test_mail_wants_the_password(mailbox: Mail) -> None:
    with mailbox.session() as session:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            session.login("alertmanager", "wrong")
        with pytest.raises(smtplib.SMTPSenderRefused):
            session.sendmail("a@b.c", ["d@e.f"], TEXT)
    assert not mailbox.box.messages


def test_mail_that_is_too_large_is_refused(mailbox: Mail) -> None:
    with mailbox.session() as session:
        session.login("alertmanager", TOKEN)
        with pytest.raises(smtplib.SMTPDataError):
            session.sendmail("a@b.c", ["d@e.f"], "x" * 70 + ("\r\n" + "y" * 70) * 15_000)
    assert not mailbox.box.messages
