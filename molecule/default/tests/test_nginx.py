"""The edge, asked from another machine: what it lets in, what it refuses, and how it says so."""

import concurrent.futures
import http.client
import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from wiring import port

from lab.journey import WEBHOOK_NAME as NAME
from lab.services.https import Answer, call
from lab.services.jira import payload

HTTP, HTTPS = port("nginx_http_port"), port("nginx_https_port")
TICKET = payload.Ticket("EDGE-1", "Never to be stored")


class Edge:
    """Requests to the edge, each verified against the internal authority."""

    def __init__(self, address: str, ca: Path) -> None:
        self.address, self.ca = address, ca

    def once(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request."""
        url = f"https://{NAME}:{HTTPS}{path}"
        return call(method, url, ca=self.ca, address=self.address, headers=headers, body=body)

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """A post to /webhook, repeated while earlier tests have used this address's share up."""
        deadline = time.monotonic() + 30
        while True:
            answer = self.once("POST", "/webhook", body, headers)
            if answer.status != 429 or time.monotonic() > deadline:
                return answer
            time.sleep(0.1)


@pytest.fixture(scope="module")
def edge(lab: Any) -> Edge:
    """The edge, and the authority that signed its certificate."""
    return Edge(lab.address, lab.appliance_ca)


def plain(edge: Edge, name: str, path: str = "/") -> http.client.HTTPResponse:
    """The answer of the plain port to a request for *name*."""
    connection = http.client.HTTPConnection(edge.address, HTTP, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": name})
        return connection.getresponse()
    finally:
        connection.close()


def openssl(edge: Edge, *arguments: str) -> str:
    """What `openssl s_client` with *arguments* says of the public port."""
    command = ["openssl", "s_client", "-connect", f"{edge.address}:{HTTPS}", *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_forty_quick_posts_are_limited(edge: Edge, eventually: Any) -> None:
    edge.post(b"{}")
    answers: list[Any] = []

    def quick() -> list[Any]:
        # On a busy machine they may take so long that all of them are within the rate.
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            answers.extend(pool.map(lambda _: edge.once("POST", "/webhook", b"{}"), range(40)))
        return [answer for answer in answers if answer.status == 429]

    limited = eventually(quick)[0]
    assert {answer.status for answer in answers} == {401, 429}
    assert limited.json() == {"error": "too many requests"}
    assert limited.headers["retry-after"] == "1"


def test_twenty_posts_at_once_pass(edge: Edge) -> None:
    def passed() -> int:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            return sum(pool.map(lambda _: edge.once("POST", "/webhook", b"{}").status == 401, range(20)))

    # Two seconds of 10 a second empty the memory of what was sent before.
    edge.post(b"{}")
    deadline = time.monotonic() + 30
    while (count := passed()) < 20 and time.monotonic() < deadline:
        time.sleep(2.5)
    assert count == 20


def test_a_missing_or_wrong_signature_is_refused(edge: Edge) -> None:
    body = payload.encode(payload.moved(payload.issue(TICKET)))
    assert edge.post(body).status == 401
    wrong = edge.post(body, payload.headers(body, "not the secret"))
    assert (wrong.status, list(wrong.json())) == (401, ["error"])


def test_broken_json_is_a_bad_request(edge: Edge, secrets: Mapping[str, str]) -> None:
    body = b'{"webhookEvent": '
    answer = edge.post(body, payload.headers(body, secrets["secret_jira_webhook_secret"]))
    assert (answer.status, list(answer.json())) == (400, ["error"])


def test_a_body_over_one_mebibyte_is_too_large(edge: Edge) -> None:
    answer = edge.once("POST", "/webhook", b" " * (1024 * 1024 + 1))
    assert (answer.status, answer.json()) == (413, {"error": "the body is too large"})
    assert edge.post(b" " * (1024 * 1024)).status == 401


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/health", "/ready", "/api/projects", "/webhook/", "/stub_status", "/docs"]
)
def test_nothing_but_the_webhook_is_there(edge: Edge, path: str) -> None:
    answer = edge.once("GET", path)
    assert (answer.status, answer.json()) == (404, {"error": "not found"})


def test_the_webhook_takes_posts_only(edge: Edge) -> None:
    answer = edge.once("GET", "/webhook")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/webhook")])
def test_every_answer_carries_the_security_headers(edge: Edge, method: str, path: str) -> None:
    headers = (edge.post(b"{}") if method == "POST" else edge.once(method, path)).headers
    assert int(re.fullmatch(r"max-age=(\d+); includeSubDomains", headers["strict-transport-security"])[1]) >= 31536000  # type: ignore[index]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["server"] == "nginx"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])


def test_plain_http_is_sent_to_https(edge: Edge) -> None:
    answer = plain(edge, NAME, "/webhook")
    shown = NAME if HTTPS == 443 else f"{NAME}:{HTTPS}"
    assert (answer.status, answer.getheader("Location")) == (301, f"https://{shown}/webhook")


def test_another_name_learns_nothing(edge: Edge) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        plain(edge, "other.example")
    context = ssl.create_default_context(cafile=str(edge.ca))
    for name in ("other.example", edge.address):
        with (
            socket.create_connection((edge.address, HTTPS), timeout=10) as connection,
            pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"),
        ):
            context.wrap_socket(connection, server_hostname=name)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_tls_is_refused(edge: Edge, version: str) -> None:
    told = openssl(edge, version, "-cipher", "ALL:@SECLEVEL=0", "-servername", NAME)
    assert "alert protocol version" in told


@pytest.mark.parametrize(("version", "spoken"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_current_tls_is_spoken(edge: Edge, version: str, spoken: str) -> None:
    assert f"New, {spoken}, Cipher is " in openssl(edge, version, "-servername", NAME)


def test_weak_ciphers_are_refused(edge: Edge) -> None:
    for cipher in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA"):
        told = openssl(edge, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", "-servername", NAME)
        assert "alert handshake failure" in told


def test_requests_are_logged_as_json_without_their_query(host: Any, edge: Edge, eventually: Any) -> None:
    identity = edge.once("GET", "/asked?token=abc123").headers["x-request-id"]
    line = eventually(lambda: host.run(f"grep -F {identity} /var/log/nginx/access.log").stdout)
    entry = json.loads(line)
    assert (entry["status"], entry["path"], entry["tls"]) == ("404", "/asked", "TLSv1.3")
    assert "abc123" not in line


def test_the_request_id_reaches_the_webhook_api(
    host: Any, edge: Edge, secrets: Mapping[str, str], eventually: Any
) -> None:
    body = payload.encode(payload.moved(payload.issue(payload.Ticket("EDGE-2", "Followed by its request id"))))
    answer = edge.post(body, payload.headers(body, secrets["secret_jira_webhook_secret"]))
    assert answer.json() == {"status": "accepted", "message": answer.json()["message"]}
    identity = answer.headers["x-request-id"]
    eventually(lambda: identity in host.check_output("docker logs --tail 100 jira-webhook-api 2>&1"))


def test_counters_are_on_loopback_alone(host: Any, edge: Edge) -> None:
    assert "Active connections" in host.check_output(
        f"curl --silent --fail http://127.0.0.1:{port('nginx_status_port')}/stub_status"
    )
    with pytest.raises(OSError, match=r"timed out|refused"):
        socket.create_connection((edge.address, port("nginx_status_port")), timeout=2)


@pytest.mark.alone
def test_jira_is_told_to_come_back_while_the_api_is_away(host: Any, edge: Edge) -> None:
    host.check_output("docker pause jira-webhook-api")
    try:
        answer = edge.post(b"{}")
    finally:
        host.check_output("docker unpause jira-webhook-api")
    assert answer.status == 504
    assert answer.headers["retry-after"] == "30"
    assert answer.json() == {"error": "the service did not answer in time"}
    assert edge.post(b"{}").status == 401
