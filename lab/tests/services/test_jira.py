from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from lab.services import https, tls
from lab.services.httpserver import Request, Response, Server
from lab.services.jira import payload, server
from lab.services.jira.send_webhook import send_webhook
from services.client import close

SECRET = "a webhook's secret"
TICKET = payload.Ticket("SHOP-1", "Take off ten percent: ü", "Please.", ("shop",))


def test_the_webhook_says_that_the_ticket_moved_to_in_development() -> None:
    document = payload.moved(payload.issue(TICKET))
    (change,) = document["changelog"]["items"]
    assert document["webhookEvent"] == "jira:issue_updated"
    assert document["issue"]["fields"]["status"]["name"] == change["toString"] == "In Development"
    assert (change["field"], change["fromString"]) == ("status", "To Do")
    assert document["issue"]["fields"]["project"]["key"] == "SHOP"
    assert [component["name"] for component in document["issue"]["fields"]["components"]] == ["shop"]


def test_the_signature_covers_the_raw_body() -> None:
    body = payload.encode(payload.moved(payload.issue(TICKET)))
    sent = payload.headers(body, SECRET)
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert sent["X-Hub-Signature"] == f"sha256={expected}"
    assert sent["X-Atlassian-Webhook-Identifier"] != payload.headers(body, SECRET)["X-Atlassian-Webhook-Identifier"]
    assert payload.headers(body, SECRET, "again")["X-Atlassian-Webhook-Identifier"] == "again"


class Target:
    """An HTTPS server under a name of the lab, on a loopback port."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.port = 0

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        return Response.json({"status": "accepted"}, 200 if request.path == "/webhook" else 401)


@pytest.fixture
def target(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> Iterator[Target]:
    found = Target()
    plain = Server(found.handle, stand_in="target", body_limit=100_000)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls.issue(tmp_path, "target", ["appliance"]))

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(plain._connected, "127.0.0.1", 0, ssl=context)

    listening = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    found.port = listening.sockets[0].getsockname()[1]
    yield found
    asyncio.run_coroutine_threadsafe(close(listening), loop).result(10)
    asyncio.run_coroutine_threadsafe(plain.__aexit__(None, None, None), loop).result(10)


def test_a_webhook_arrives_at_a_server_that_has_the_right_name(target: Target, tmp_path: Path) -> None:
    url = f"https://appliance:{target.port}/webhook"
    document = payload.moved(payload.issue(TICKET))
    answer = send_webhook(url, document, SECRET, ca=tmp_path / "pki/ca.crt", address="127.0.0.1")
    (request,) = target.requests
    assert (answer.status, answer.json()) == (200, {"status": "accepted"})
    assert json.loads(request.body) == document
    digest = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature"] == f"sha256={digest}"


def test_another_name_or_another_ca_gets_nothing(target: Target, tmp_path: Path) -> None:
    other = tls.ensure_ca(tmp_path / "other")
    for name, ca in (("elsewhere", tmp_path / "pki/ca.crt"), ("appliance", other)):
        with pytest.raises(ssl.SSLCertVerificationError):
            send_webhook(f"https://{name}:{target.port}/webhook", {}, SECRET, ca=ca, address="127.0.0.1")
    assert target.requests == []


def test_only_https_is_spoken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="https"):
        https.call("GET", "http://appliance/", ca=tmp_path)


@pytest.mark.parametrize(("path", "status"), [("/webhook", 0), ("/elsewhere", 1)])
def test_the_command_takes_the_secret_from_standard_input(
    target: Target, tmp_path: Path, path: str, status: int
) -> None:
    command = [
        *(sys.executable, "-m", "lab.services.jira.send_webhook", "--address", "127.0.0.1"),
        *("--url", f"https://appliance:{target.port}{path}", "--ca", str(tmp_path / "pki/ca.crt")),
        *("--secret-file", "-", "--key", "SHOP-1", "--summary", "Discount"),
    ]
    done = subprocess.run(command, input=f"{SECRET}\n", capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (status, "")
    assert "accepted" in done.stdout
    assert SECRET not in done.stdout


Call = Callable[..., tuple[int, bytes]]


@pytest.fixture
def guarded() -> Call:
    """The guard around an application that answers with the body it was given."""

    async def application(scope: MutableMapping[str, Any], receive: server.Receive, send: server.Send) -> None:
        assert scope["type"] == "http"
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    def call(body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        sent: list[MutableMapping[str, Any]] = []
        parts = [body[:3], body[3:]]

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        guard = server.Guard(application, "a-token")
        asyncio.run(guard({"type": "http", "headers": pairs}, receive, send))
        assert (b"x-lab-stand-in", server.STAND_IN.encode()) in sent[0]["headers"]
        return sent[0]["status"], sent[1]["body"]

    return call


JSON = {"authorization": "Bearer a-token", "content_type": "application/json"}


def test_jira_takes_json_with_the_token(guarded: Call) -> None:
    assert guarded(b'{"fields":{}}', **JSON) == (200, b'{"fields":{}}')
    assert guarded(authorization="Bearer a-token") == (200, b"")


@pytest.mark.parametrize("credential", ["", "Bearer wrong", "Basic a-token", "a-token"])
def test_jira_wants_its_token(guarded: Call, credential: str) -> None:
    assert guarded(b"{}", content_type="application/json", authorization=credential)[0] == 401


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"x" * (server.BODY_LIMIT + 1), "application/json", 413),
    ],
)
def test_jira_refuses_what_is_not_json(guarded: Call, body: bytes, kind: str, status: int) -> None:
    assert guarded(body, authorization="Bearer a-token", content_type=kind)[0] == status
