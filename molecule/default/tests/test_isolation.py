"""What containers can reach: the database, the broker, the gateway, the proxies, and nothing else.

Every probe runs inside a running container. A refused connection counts as reached: the packet got there.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytest
from wiring import addresses, network, port

METADATA = "169.254.169.254"  # where clouds tell a machine its secrets
BACKEND, AGENTS, EGRESS, FRONTEND = (network(name) for name in ("backend", "agents", "egress", "frontend"))
MONGODB, RABBITMQ = port("mongodb_port"), port("rabbitmq_tls_port")
PUBLIC = {port("nginx_http_port"), port("nginx_https_port")}
(GATEWAY,) = ((address, port("app_llm_gateway_port")) for address in addresses("llm-gateway", "agents"))
RUNNERS = [(address, port("app_agent_runner_port")) for address in addresses("agent-runner", "agents")]
UNTRUSTED, TRUSTED = (f"{AGENTS}.1", port("untrusted_proxy_port")), (f"{EGRESS}.1", port("trusted_proxy_port"))
# The two APIs, the runners, the gateway, and what tells metrics.
SERVICES = [
    port(f"app_{name}_port")
    for name in ("jira_webhook_api", "configuration_api", "agent_runner", "llm_gateway", "metrics")
]
Target = tuple[str, int]

PROBE = """
import concurrent.futures, json, socket, sys

def reach(target):
    try:
        socket.create_connection(target, timeout=2).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True

targets = [tuple(target) for target in json.loads(sys.argv[1])]
with concurrent.futures.ThreadPoolExecutor(24) as pool:
    print(json.dumps(list(pool.map(reach, targets))))
"""
RESOLVE = """
import socket, sys
try:
    print(socket.gethostbyname(sys.argv[1]))
except OSError:
    print("unknown")
"""
CONNECT = """
import socket, sys
proxy, port, destination = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with socket.create_connection((proxy, port), timeout=10) as connection:
    connection.sendall(f"CONNECT {destination} HTTP/1.1\\r\\nHost: {destination}\\r\\n\\r\\n".encode())
    print(connection.recv(64).split()[1].decode())
"""


def run_python(host: Any, command: list[str], program: str, *arguments: str) -> str:
    """What *program* prints when *command*, which starts Python, runs it on the host."""
    line = " ".join("'" + part.replace("'", "'\\''") + "'" for part in [*command, "-c", program, *arguments])
    result = host.run(line)
    assert result.rc == 0, result.stderr
    return str(result.stdout).strip()


def inside(container: str) -> list[str]:
    """The command that starts Python in a running container."""
    return ["docker", "exec", container, "python3"]


def reached(host: Any, command: list[str], targets: Iterable[Target]) -> set[Target]:
    """Those of *targets* that Python started by *command* can reach."""
    listed = sorted(set(targets))
    answers = json.loads(run_python(host, command, PROBE, json.dumps(listed)))
    return {target for target, answer in zip(listed, answers, strict=True) if answer}


@pytest.fixture(scope="module")
def everything(host: Any, lab: Any, eventually: Callable[..., Any]) -> Iterator[set[Target]]:
    """Whatever could be reached from a container: ports of the host under each of its addresses, containers, others.

    Those of the broker's host are among them.

    The host itself reaches all of them, so a probe that finds one shut was shut out.
    """
    host.check_output(f"ip address replace {METADATA}/32 dev lo")
    try:
        # Each ends and starts again after a run.
        eventually(lambda: runners_listen(host), timeout=90)
        listening = {
            int(line.split()[3].rsplit(":", 1)[1])
            for line in host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
            if not line.split()[3].startswith(("127.", "[::1]"))
        }
        assert {22, *PUBLIC, UNTRUSTED[1], TRUSTED[1], port("exporters_port"), MONGODB} <= listening
        own = {
            (own_address, number)
            for number in listening
            for own_address in (
                lab.address,
                METADATA,
                *(f"{network}.1" for network in (FRONTEND, BACKEND, AGENTS, EGRESS)),
            )
        }
        other = {(lab.broker_address, number) for number in (22, RABBITMQ, port("exporters_port"))}
        targets = own | other | set(services(host)) | {(lab.services, 443), (lab.services, 9200), (METADATA, 80)}
        open_here = reached(host, ["python3"], targets)
        assert {(lab.address, 22), (METADATA, 80), (lab.services, 443), GATEWAY} <= open_here
        assert {(lab.broker_address, 22), (lab.broker_address, RABBITMQ)} <= open_here
        yield open_here
    finally:
        host.check_output(f"ip address del {METADATA}/32 dev lo")


def networks(host: Any) -> Mapping[str, list[str]]:
    """Each running container's addresses."""
    names = host.check_output("docker ps --format '{{.Names}}'").split()
    facts = json.loads(host.check_output(f"docker inspect {' '.join(names)}"))
    return {
        fact["Name"].lstrip("/"): [network["IPAddress"] for network in fact["NetworkSettings"]["Networks"].values()]
        for fact in facts
    }


def runners_listen(host: Any) -> bool:
    """Whether every runner that there should be can be reached."""
    names = host.check_output("docker ps --all --filter name=agent-runner --format '{{.Names}}'").split()
    known = networks(host)
    work = port("app_agent_runner_port")
    listed = {(address, work) for name in names for address in known.get(name, [""])}
    return ("", work) not in listed and reached(host, ["python3"], listed) == listed


def services(host: Any) -> Iterator[Target]:
    """Every port that a container listens on, under each of its addresses."""
    for listed in networks(host).values():
        for container_address in listed:
            for number in SERVICES:
                yield container_address, number


def others(targets: Iterable[Target], own: Iterable[str]) -> set[Target]:
    """*targets* without a container's own addresses."""
    addresses = set(own)
    return {target for target in targets if target[0] not in addresses}


@pytest.mark.parametrize("container", ["mongodb-exporter-1", "jira-webhook-api", "configuration-api"])
def test_a_container_on_backend_reaches_database_and_broker_only(
    host: Any, lab: Any, everything: set[Target], container: str
) -> None:
    own = networks(host)[container]
    found = reached(host, inside(container), others(everything, own))
    assert {(lab.address, MONGODB), (lab.broker_address, RABBITMQ)} <= found
    rest = {
        target
        for target in found
        # The host answers for the database under any of its own addresses; frontend's containers may meet each other.
        if target[1] not in {MONGODB, RABBITMQ} and not target[0].startswith(f"{FRONTEND}.1")
    }
    assert rest == set()


def test_a_container_on_frontend_reaches_no_port_of_the_host(host: Any, everything: set[Target]) -> None:
    image = host.check_output("docker inspect --format '{{.Config.Image}}' jira-webhook-api").strip()
    command = [
        "docker",
        "run",
        "--rm",
        "--network=sdlc-agents_frontend",
        "--dns=127.0.0.1",
        "--entrypoint=python3",
        image,
    ]
    found = reached(host, command, everything)
    (webhooks,), (configuration,) = (addresses(name, "frontend") for name in ("jira-webhook-api", "configuration-api"))
    neighbours = {target for target in found if target[0] in {webhooks, configuration}}
    assert (webhooks, port("app_jira_webhook_api_port")) in neighbours
    assert found - neighbours == set()


def test_the_consumer_reaches_database_broker_runners_and_the_trusted_proxy_only(
    host: Any, lab: Any, everything: set[Target]
) -> None:
    container = "developer-agent-consumer-1"
    found = reached(host, inside(container), others(everything, networks(host)[container]))
    assert {(lab.address, MONGODB), (lab.broker_address, RABBITMQ), TRUSTED, RUNNERS[0]} <= found
    rest = {
        target
        for target in found
        if target[1] not in {MONGODB, RABBITMQ} and target not in {TRUSTED, UNTRUSTED, *RUNNERS}
    }
    assert rest == set()


def test_a_runner_reaches_the_gateway_and_the_untrusted_proxy_only(host: Any, everything: set[Target]) -> None:
    container = "agent-runner-1"
    found = reached(host, inside(container), others(everything, networks(host)[container]))
    assert found == {GATEWAY, UNTRUSTED}


@pytest.fixture
def without_firewall(host: Any) -> Iterator[None]:
    """The appliance's table of the firewall is gone."""
    host.check_output("nft delete table inet appliance")
    try:
        yield
    finally:
        host.check_output("systemctl reload nftables")
        assert host.run("nft list table inet appliance").rc == 0


@pytest.mark.alone
@pytest.mark.usefixtures("without_firewall")
def test_no_container_has_a_route_out_even_without_the_firewall(host: Any, lab: Any) -> None:
    outside = {(lab.services, 443), (lab.services, 9200), (lab.outside, 22), (lab.mirror, 80)}
    assert (lab.services, 443) in reached(host, ["python3"], outside)
    names = host.check_output("docker ps --format '{{.Names}}'").split()
    assert len(names) >= 7
    for name in names:
        assert reached(host, inside(name), outside) == set(), name
    # The database and the broker, on whichever host, are still there.
    needed = {(lab.address, MONGODB), (lab.broker_address, RABBITMQ)}
    assert reached(host, inside("configuration-api"), needed) == needed


@pytest.mark.parametrize("container", ["agent-runner-1", "developer-agent-consumer-1", "jira-webhook-api"])
def test_a_container_resolves_no_name_of_the_outside(host: Any, container: str) -> None:
    assert run_python(host, ["python3"], RESOLVE, "gitea.lab") != "unknown"
    assert run_python(host, inside(container), RESOLVE, "gitea.lab") == "unknown"


def test_a_runner_knows_the_gateway_and_no_host_by_name(host: Any) -> None:
    assert run_python(host, inside("agent-runner-1"), RESOLVE, "llm-gateway") == GATEWAY[0]
    name = host.check_output("hostname").strip()
    assert run_python(host, inside("developer-agent-consumer-1"), RESOLVE, name) != "unknown"
    assert run_python(host, inside("agent-runner-1"), RESOLVE, name) == "unknown"


def test_the_untrusted_proxy_lets_nothing_through_that_shows_no_jobs_token(host: Any, lab: Any) -> None:
    # What the site lists at all is asked for credentials, the rest is refused: test_egress.py has the tokens.
    for destination, status in (
        ("gitea.lab:443", "407"),
        ("claude.lab:443", "407"),
        ("jira.lab:443", "403"),
        (f"{lab.services}:443", "403"),
    ):
        assert run_python(host, inside("agent-runner-1"), CONNECT, *map(str, UNTRUSTED), destination) == status


def test_the_trusted_proxy_lets_the_listed_destinations_through(host: Any, lab: Any) -> None:
    consumer = inside("developer-agent-consumer-1")
    assert run_python(host, consumer, CONNECT, *map(str, TRUSTED), "gitea.lab:443") == "200"
    for destination in ("logs.lab:9200", "gitea.lab:22", f"{lab.services}:443"):
        assert run_python(host, consumer, CONNECT, *map(str, TRUSTED), destination) == "403"


def test_a_runner_takes_no_work_from_its_neighbours(host: Any) -> None:
    targets = [RUNNERS[0], GATEWAY]
    assert reached(host, inside("agent-runner-2"), targets) == {GATEWAY}
    assert reached(host, inside("developer-agent-consumer-1"), targets[:1]) == set(targets[:1])
