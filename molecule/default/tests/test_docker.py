"""The Docker daemon, by what containers get from it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from testinfra.host import Host

SERVER = "python3 -m http.server 8099 --bind 0.0.0.0"


@pytest.fixture(scope="module")
def image(host: Host) -> str:
    """An image with Python: that of the services."""
    return str(host.check_output("docker inspect --format '{{.Config.Image}}' jira-webhook-api"))


@pytest.fixture
def server(host: Host, image: str) -> Iterator[str]:
    """A container on the default bridge that serves port 8099 and publishes it without naming an address."""
    start = "docker run --detach --rm --name sdlc-test-server --publish 18099:8099 --entrypoint sh"
    name = host.check_output(f"{start} {image} -c '{SERVER}'")
    try:
        yield name
    finally:
        host.check_output("docker rm --force sdlc-test-server")


def test_a_containers_log_is_rotated(host: Host) -> None:
    names = host.check_output("docker ps --format '{{.Names}}'").split()
    assert names
    for fact in json.loads(host.check_output(f"docker inspect {' '.join(names)}")):
        assert fact["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}


def test_a_container_gains_no_privileges(host: Host, image: str) -> None:
    shown = host.check_output(f"docker run --rm --network none --entrypoint grep {image} NoNewPrivs /proc/self/status")
    assert shown.split() == ["NoNewPrivs:", "1"]


def test_a_port_is_published_on_loopback_unless_an_address_is_named(host: Host, server: str) -> None:
    (fact,) = json.loads(host.check_output(f"docker inspect {server}"))
    assert {port["HostIp"] for port in fact["NetworkSettings"]["Ports"]["8099/tcp"]} == {"127.0.0.1"}


def test_a_published_port_needs_no_process(host: Host, server: str) -> None:
    assert server
    assert host.run("curl --silent --output /dev/null --retry 10 --retry-connrefused http://127.0.0.1:18099/").rc == 0
    assert host.run("pgrep --exact docker-proxy").rc != 0


def test_containers_of_the_default_bridge_do_not_meet(host: Host, image: str, server: str) -> None:
    (fact,) = json.loads(host.check_output(f"docker inspect {server}"))
    address = fact["NetworkSettings"]["IPAddress"]
    wait = f"curl --silent --output /dev/null --retry 10 --retry-connrefused http://{address}:8099/"
    assert host.run(wait).rc == 0
    probe = f'import socket; socket.create_connection(("{address}", 8099), timeout=3)'
    told = host.run(f"docker run --rm --network bridge --entrypoint python3 {image} -c %s", probe)
    assert told.rc != 0
    assert "timed out" in told.stderr


def test_nobody_but_root_speaks_to_the_daemon(host: Host) -> None:
    assert host.run("docker ps").rc == 0
    told = host.run("setpriv --reuid=nobody --regid=nogroup --clear-groups docker ps")
    assert told.rc != 0
    assert "permission denied" in told.stderr
    assert host.group("docker").members == []


def test_compose_is_version_two(host: Host) -> None:
    assert int(host.check_output("docker compose version --short").lstrip("v").split(".")[0]) >= 2
