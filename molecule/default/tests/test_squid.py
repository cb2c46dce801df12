"""The egress proxy: what it refuses in spite of a listed name, and what it writes down."""

from __future__ import annotations

import json
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host
from wiring import network, port

TRUSTED = (f"{network('egress')}.1", port("trusted_proxy_port"))
UNTRUSTED = (f"{network('agents')}.1", port("untrusted_proxy_port"))
CONTAINER = "developer-agent-consumer-1"  # on both networks, so it can ask both listeners
ASK = """
import socket, sys
address, port, line, name = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
with socket.create_connection((address, port), timeout=15) as connection:
    connection.sendall(f"{line} HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(connection.recv(64).split()[1].decode())
"""
Eventually = Callable[..., Any]
Ask = Callable[[tuple[str, int], str], str]


@pytest.fixture
def ask(host: Host) -> Ask:
    """Send a request's first line to a listener; the status that comes back."""

    def send(listener: tuple[str, int], line: str) -> str:
        name = urllib.parse.urlsplit(line.replace("CONNECT ", "GET //").split()[1]).netloc
        command = f"docker exec {CONTAINER} python3 -c %s %s %s %s %s"
        return str(host.check_output(command, ASK, listener[0], str(listener[1]), line, name))

    return send


@pytest.fixture
def rebound(host: Host) -> Iterator[None]:
    """A listed name, pointed at the host's own loopback."""
    host.check_output("cp /etc/hosts /run/sdlc-test-hosts")
    host.check_output("echo '127.0.0.1 gitea.lab' >> /etc/hosts")
    host.check_output("systemctl restart squid")
    try:
        yield
    finally:
        # A container's /etc/hosts is a mount: it can be written, not replaced.
        host.check_output("cat /run/sdlc-test-hosts > /etc/hosts && rm /run/sdlc-test-hosts")
        host.check_output("systemctl restart squid")


def entries(host: Host) -> list[dict[str, Any]]:
    """The last entries of the access log."""
    return [json.loads(line) for line in host.check_output("tail --lines 50 /var/log/squid/access.log").splitlines()]


def test_a_listed_name_is_reached_by_tunnel_on_its_port_only(ask: Ask) -> None:
    assert ask(TRUSTED, "CONNECT gitea.lab:443") == "200"
    assert ask(TRUSTED, "CONNECT gitea.lab:22") == "403"
    assert ask(TRUSTED, "GET http://gitea.lab:443/") == "403"
    assert ask(TRUSTED, "GET http://gitea.lab/") == "403"


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT sub.gitea.lab:443",
        "CONNECT gitea.lab.example.com:443",
        "CONNECT 127.0.0.1:443",
        "CONNECT [::1]:443",
        "CONNECT 169.254.169.254:80",
        "GET http://169.254.169.254/latest/meta-data/",
        f"GET http://localhost:{port('prometheus_port')}/",
        "GET ftp://gitea.lab/",
        f"GET http://localhost:{TRUSTED[1]}/squid-internal-mgr/info",
    ],
)
def test_what_is_not_listed_is_denied(ask: Ask, line: str) -> None:
    assert ask(TRUSTED, line) == "403"
    # Of a listed name the untrusted listener asks for a job's token before it looks at the rest.
    assert ask(UNTRUSTED, line) == ("407" if "//gitea.lab/" in line else "403")


def test_the_address_behind_a_listed_name_is_denied(ask: Ask, lab: Any) -> None:
    assert ask(TRUSTED, f"CONNECT {lab.services}:443") == "403"


def test_the_untrusted_listener_wants_a_jobs_token_for_a_listed_name(ask: Ask) -> None:
    assert ask(UNTRUSTED, "CONNECT gitea.lab:443") == "407"
    assert ask(UNTRUSTED, "CONNECT jira.lab:443") == "403"


@pytest.mark.alone
@pytest.mark.usefixtures("rebound")
def test_a_listed_name_that_points_at_the_host_itself_is_denied(ask: Ask, eventually: Eventually) -> None:
    assert eventually(lambda: ask(TRUSTED, "CONNECT gitea.lab:443")) == "403"


def test_every_request_is_logged_without_its_query(host: Host, ask: Ask, eventually: Eventually) -> None:
    mark = uuid.uuid4().hex
    assert ask(TRUSTED, f"GET http://denied.example/{mark}?token=hunter2") == "403"
    eventually(lambda: any(mark in entry["url"] for entry in entries(host)))
    (entry,) = [entry for entry in entries(host) if mark in entry["url"]]
    # On a busy machine squid notes as well (TCP_DENIED_ABORTED) that `ask` hangs up once it has the status.
    assert entry["result"].startswith("TCP_DENIED")
    assert (entry["status"], entry["listener"]) == (403, str(TRUSTED[1]))
    assert "hunter2" not in json.dumps(entry)


def test_the_proxy_runs_confined(host: Host) -> None:
    worker = host.check_output("pgrep --full 'kid squid-1'").split()[0]
    status = dict(line.split(":\t", 1) for line in host.file(f"/proc/{worker}/status").content_string.splitlines())
    effective = status["Uid"].split("\t")[1]
    assert effective == host.check_output("id --user proxy")
    assert status["NoNewPrivs"] == "1"
    assert host.run(f"nsenter --target {worker} --mount touch /usr/sdlc-test").rc != 0
