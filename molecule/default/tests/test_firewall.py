"""What other machines reach of a host, and that nothing opens it by accident."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from testinfra.host import Host
from wiring import addresses, network, port

from lab import engine
from lab import outside as outside_host

PUBLIC = {22, port("nginx_http_port"), port("nginx_https_port")}
MONGODB, WEBHOOKS, METRICS = port("mongodb_port"), port("app_jira_webhook_api_port"), port("app_metrics_port")
PROBE = """
import concurrent.futures, json, socket, sys

def answer(target):
    try:
        socket.create_connection(target, timeout=3).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silent"
    return "open"

targets = [tuple(target) for target in json.loads(sys.argv[1])]
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(answer, targets))))
"""


@pytest.fixture(scope="module")
def outside_image() -> str:
    """The image of the machine outside, to make another one of that may change its routes."""
    with engine.client() as client:
        return str(client.containers.get(outside_host.up()).attrs["Config"]["Image"])


def answers(machine: Host, address: str, ports: Iterable[int]) -> dict[int, str]:
    """How each port of *address* answers *machine*: open, refused or silent."""
    listed = sorted(set(ports))
    targets = json.dumps([(address, port) for port in listed])
    told = machine.run("python3 -c %s %s", PROBE, targets)
    assert told.rc == 0, told.stderr
    return dict(zip(listed, json.loads(told.stdout), strict=True))


def listening(host: Host) -> set[int]:
    """The TCP ports that something listens on, loopback left out."""
    sockets = [line.split()[3] for line in host.check_output("ss -Htln").splitlines()]
    return {int(name.rsplit(":", 1)[1]) for name in sockets if not name.startswith(("127.", "[::1]"))}


def ruleset(host: Host, table: str) -> str:
    """A table of the kernel as it is loaded."""
    return str(host.check_output(f"nft --stateless list table {table} 2>/dev/null"))


def containers(host: Host) -> str:
    """Each running container and since when it runs."""
    return str(
        host.check_output("docker ps -q | xargs docker inspect --format '{{.Name}} {{.State.StartedAt}}' | sort")
    )


def test_from_another_host_only_ssh_and_web_answer(host: Host, outside: Host, lab: Any) -> None:
    there = listening(host)
    assert there >= PUBLIC | {MONGODB, port("untrusted_proxy_port"), port("trusted_proxy_port"), port("exporters_port")}
    unused = {5672, 8443, 15672}
    found = answers(outside, lab.address, there | unused | {WEBHOOKS, port("app_configuration_api_port"), METRICS})
    assert {port for port, answer in found.items() if answer == "open"} == PUBLIC


def test_from_another_host_only_ssh_of_the_brokers_answers(broker: Host, outside: Host, lab: Any) -> None:
    there = listening(broker)
    assert there >= {22, port("rabbitmq_tls_port"), port("exporters_port")}
    internal = {port(f"rabbitmq_{name}_port") for name in ("epmd", "prometheus", "distribution")}
    found = answers(outside, lab.broker_address, there | internal | {15672})
    assert {port for port, answer in found.items() if answer == "open"} <= PUBLIC
    assert found[22] == "open"


def test_a_closed_port_does_not_even_refuse(outside: Host, lab: Any) -> None:
    found = answers(outside, lab.address, [1, 25, WEBHOOKS, MONGODB, 65000])
    assert set(found.values()) == {"silent"}


def test_no_container_is_reached_by_a_route_through_the_host(host: Host, outside_image: str, lab: Any) -> None:
    (inside,) = addresses("jira-webhook-api", "backend")
    (before,) = addresses("jira-webhook-api", "frontend")
    assert answers(host, inside, [WEBHOOKS, METRICS]) == {WEBHOOKS: "open", METRICS: "open"}
    routes = [f"ip route add {network(name)}.0/24 via {lab.address}" for name in ("backend", "frontend")]
    script = " && ".join([*routes, 'exec python3 -c "$0" "$1"'])
    targets = json.dumps([(inside, WEBHOOKS), (inside, METRICS), (before, WEBHOOKS)])
    with engine.client() as client:
        told = client.containers.run(
            outside_image,
            ["-c", script, PROBE, targets],
            entrypoint="sh",
            network=engine.NETWORK,
            cap_add=["NET_ADMIN"],
            remove=True,
        )
    assert json.loads(told) == ["silent", "silent", "silent"]


@pytest.mark.alone
def test_the_rules_survive_a_restart_of_nftables(host: Host, outside: Host, lab: Any) -> None:
    ours, filters, addresses = (ruleset(host, table) for table in ("inet appliance", "ip filter", "ip nat"))
    host.check_output("systemctl restart nftables")
    assert ruleset(host, "inet appliance") == ours
    assert (ruleset(host, "ip filter"), ruleset(host, "ip nat")) == (filters, addresses)
    assert answers(outside, lab.address, [22, MONGODB]) == {22: "open", MONGODB: "silent"}


@pytest.mark.alone
def test_the_host_stays_shut_while_nftables_is_stopped(host: Host, outside: Host, lab: Any) -> None:
    host.check_output("systemctl stop nftables")
    try:
        scraped = port("exporters_port")
        found = answers(outside, lab.address, [22, MONGODB, scraped])
        assert found == {22: "open", MONGODB: "silent", scraped: "silent"}
    finally:
        host.check_output("systemctl start nftables")


@pytest.mark.alone
def test_rules_and_containers_survive_a_restart_of_docker(host: Host, outside: Host, lab: Any) -> None:
    ours, running = ruleset(host, "inet appliance"), containers(host)
    host.check_output("systemctl restart docker")
    assert ruleset(host, "inet appliance") == ours
    assert containers(host) == running
    found = answers(outside, lab.address, [22, MONGODB, WEBHOOKS])
    assert found == {22: "open", MONGODB: "silent", WEBHOOKS: "silent"}
