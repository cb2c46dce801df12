"""What a project's runs reach: what the site and the project both list, by the token of an open job, and in the log.

The lab's site lists gitea.lab and claude.lab. Jobs are made in the database as a consumer makes them; every request
comes from inside a runner.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets as random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host
from wiring import addresses, constants, network, port, text

PROXY, PORT, RUNNER = f"{network('agents')}.1", port("untrusted_proxy_port"), "agent-runner-1"
GATEWAY = f"http://{addresses('llm-gateway', 'agents')[0]}:{port('app_llm_gateway_port')}/v1/egress"
MONGODB = constants(
    PORT=port("mongodb_port"), DATABASE=text("app_mongo_database"), CA=f"{text('pki_directory')}/ca.crt"
)
MONGODB += """
import datetime, json
from pymongo import MongoClient

def jobs():
    client = MongoClient(
        f"mongodb://localhost:{PORT}/?directConnection=true&authSource=admin&tls=true&tlsAllowInvalidHostnames=true",
        username=OPTIONS["user"], password=OPTIONS["password"], tlsCAFile=CA)
    return client[DATABASE]["agent_jobs"]

def later(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)

def insert(document):
    jobs().insert_one({**document, "expires_at": later(600)})

def close(job_id):
    jobs().update_one({"_id": job_id}, {"$set": {"expires_at": later(0)}})

print(json.dumps({"insert": insert, "close": close}[CALL](*ARGUMENTS)))
"""
ASK = """
import socket, sys
proxy, port, destination, credentials = sys.argv[1:]
with socket.create_connection((proxy, int(port)), timeout=20) as connection:
    header = f"Proxy-Authorization: Basic {credentials}\\r\\n" if credentials else ""
    connection.sendall(f"CONNECT {destination} HTTP/1.1\\r\\nHost: {destination}\\r\\n{header}\\r\\n".encode())
    print(connection.recv(64).split()[1].decode())
"""
# Names that are asked for on the host's wire, whoever asks.
LISTEN = """
import socket, sys, time
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
listener.settimeout(0.2)
print("listening", flush=True)
end = time.monotonic() + float(sys.argv[1])
seen = set()
while time.monotonic() < end:
    try:
        frame = listener.recv(65535)
    except TimeoutError:
        continue
    seen |= {name for name in sys.argv[2:] if name.encode() in frame.lower() and b"\\x07example" in frame}
print(" ".join(sorted(seen)), flush=True)
"""
Eventually = Callable[..., Any]


@dataclass(frozen=True)
class Job:
    """An open job and its egress token."""

    id: str
    token: str

    @property
    def credentials(self) -> str:
        """For a Proxy-Authorization header."""
        return base64.b64encode(f"{self.id}:{self.token}".encode()).decode()


Open = Callable[..., Job]
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def database(client_on_host: Callable[..., Any], secrets: Mapping[str, str]) -> Callable[..., Any]:
    """The jobs, as the consumer's database user writes them."""
    call = client_on_host(MONGODB)
    password = secrets["secret_mongodb_consumer_password"]
    return lambda name, *arguments: call(name, *arguments, user="consumer", password=password)


@pytest.fixture
def open_job(database: Callable[..., Any]) -> Iterator[Open]:
    """Open a job whose project names these hosts; it is closed at the end."""
    opened: list[str] = []

    def make(*hosts: str) -> Job:
        job = Job(uuid.uuid4().hex, f"sdlc-egress-{random.token_urlsafe(32)}")
        opened.append(job.id)
        database(
            "insert",
            {
                "_id": job.id,
                "development_id": uuid.uuid4().hex,
                "token_sha256": hashlib.sha256(random.token_bytes(32)).hexdigest(),
                "egress_sha256": hashlib.sha256(job.token.encode()).hexdigest(),
                "egress_hosts": list(hosts),
                "max_cost_usd": 0.01,
            },
        )
        return job

    yield make
    for job_id in opened:
        database("close", job_id)


@pytest.fixture
def ask(host: Host) -> Ask:
    """The status that a runner gets for a tunnel."""

    def send(destination: str, credentials: str = "") -> str:
        command = f"docker exec {RUNNER} python3 -c %s %s %s %s %s"
        return str(host.check_output(command, ASK, PROXY, str(PORT), destination, credentials))

    return send


def entries(host: Host, text: str) -> list[dict[str, Any]]:
    """The entries of the access log that hold a text."""
    lines = host.check_output("tail --lines 200 /var/log/squid/access.log").splitlines()
    return [json.loads(line) for line in lines if text in line]


def test_a_host_that_site_and_project_list_is_reached_and_logged_with_the_job(
    host: Host, ask: Ask, open_job: Open, eventually: Eventually
) -> None:
    job = open_job("gitea.lab")
    assert ask("gitea.lab:443", job.credentials) == "200"
    (entry,) = eventually(lambda: entries(host, job.id))
    assert (entry["user"], entry["url"], entry["status"]) == (job.id, "gitea.lab:443", 200)
    assert job.token not in host.check_output("cat /var/log/squid/access.log /var/log/squid/cache.log")


def test_a_domain_that_the_project_lists_is_reached_itself(ask: Ask, open_job: Open) -> None:
    assert ask("gitea.lab:443", open_job(".gitea.lab").credentials) == "200"


def test_without_a_good_token_nothing_is_reached(ask: Ask, open_job: Open) -> None:
    job, other = open_job("gitea.lab"), open_job("gitea.lab")
    assert ask("gitea.lab:443") == "407"
    for user, token in ((job.id, "wrong"), (job.id, other.token), ("nobody", job.token), (job.id, "")):
        assert ask("gitea.lab:443", Job(user, token).credentials) == "407"


def test_a_host_that_only_one_of_them_lists_is_refused(
    host: Host, ask: Ask, open_job: Open, eventually: Eventually
) -> None:
    job = open_job("gitea.lab", "jira.lab")
    assert ask("claude.lab:443", job.credentials) == "403"
    assert ask("jira.lab:443", job.credentials) == "403"
    assert ask("gitea.lab:22", job.credentials) == "403"
    assert ask("claude.lab:443", open_job().credentials) == "403"
    # What the site does not list is refused before anybody asks whose job it is.
    refused = [("claude.lab:443", 403), ("gitea.lab:22", 403)]
    eventually(lambda: [(entry["url"], entry["status"]) for entry in entries(host, job.id)] == refused)


def test_a_token_ends_with_its_job(
    ask: Ask, open_job: Open, database: Callable[..., Any], eventually: Eventually
) -> None:
    job = open_job("gitea.lab")
    assert ask("gitea.lab:443", job.credentials) == "200"
    database("close", job.id)
    eventually(lambda: ask("gitea.lab:443", job.credentials) in {"403", "407"}, timeout=35)
    assert ask("gitea.lab:443", job.credentials) in {"403", "407"}


def test_git_shows_the_token_when_it_is_asked(host: Host, open_job: Open) -> None:
    job = open_job("gitea.lab")
    proxy = f"http://{job.id}:{job.token}@{PROXY}:{PORT}"
    command = (
        "docker exec --env HTTPS_PROXY=%s --env GIT_TERMINAL_PROMPT=0 %s git ls-remote https://gitea.lab/demo/no-such"
    )
    answer = host.run(command, proxy, RUNNER)
    # Gitea itself answers: who is not logged in is told nothing.
    assert "could not read Username" in answer.stderr, answer.stderr


def test_the_gateway_tells_nothing_without_a_token(host: Host, open_job: Open) -> None:
    job = open_job("gitea.lab")
    program = """
import json, sys, urllib.error, urllib.request
for body in json.loads(sys.argv[2]):
    request = urllib.request.Request(sys.argv[1], json.dumps(body).encode())
    try:
        print(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
    bodies = [
        {"job": job.id, "token": job.token, "host": "gitea.lab"},
        {"job": job.id, "token": "x", "host": "gitea.lab"},
        {"job": "no-such", "token": "x", "host": "gitea.lab"},
        {"job": job.id, "token": job.token, "host": "x" * 5000},
        {"job": {"$ne": ""}, "token": job.token, "host": "gitea.lab"},
    ]
    shown = host.check_output(f"docker exec {RUNNER} python3 -c %s %s %s", program, GATEWAY, json.dumps(bodies))
    assert shown.split() == ["204", "403", "403", "413", "400"]


def test_asking_the_proxy_for_a_name_tells_no_name_server(
    host: Host, ask: Ask, open_job: Open, eventually: Eventually
) -> None:
    told, own = uuid.uuid4().hex, uuid.uuid4().hex
    job = open_job(".example.com")
    said = "/run/sdlc-test-names"
    host.check_output(
        f"rm -f {said}; nohup python3 -c %s 12 %s %s > {said} 2>&1 < /dev/null &"
        f" timeout 10 sh -c 'until grep -qs listening {said}; do sleep 0.1; done'",
        LISTEN,
        told,
        own,
    )
    host.run(f"getent hosts {own}.example.com")
    for credentials in ("", job.credentials):
        assert ask(f"{told}.example.com:443", credentials) == "403"
    # The second line comes at the end, with or without a name.
    seen = eventually(lambda: (lines := host.check_output(f"cat {said}").splitlines())[1:] and lines)
    assert seen == ["listening", own]
    host.check_output(f"rm {said}")
