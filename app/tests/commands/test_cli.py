"""`sdlc-agents`, as a container runs it: in a process of its own."""

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import pytest

from sdlc_agents import __version__
from sdlc_agents.commands import healthcheck
from sdlc_agents.commands.cli import SERVICES
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.signature import sign
from support.backends import Backends, Broker, EveryService
from support.deliveries import ticket
from support.processes import bare_environment, free_port
from support.waiting import until

SECRET = "a secret that only the tests know"
KEY = "the operator's bootstrap key"


async def start(*arguments: str, **environment: str) -> Process:
    given = {**bare_environment(), **environment}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sdlc_agents.commands.cli", *arguments, env=given, stdout=PIPE, stderr=PIPE
    )


async def ended(process: Process) -> tuple[int, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def environment(backends: Backends, db: Database, every_service: EveryService) -> dict[str, str]:
    return {
        "MONGO_URL": backends.mongo_url,
        "MONGO_TLS_CA_FILE": backends.mongo_tls_ca_file or "",
        "MONGO_DATABASE": db.name,
        "RABBITMQ_URL": backends.rabbitmq_url,
        "RABBITMQ_TLS_CA_FILE": backends.rabbitmq_tls_ca_file or "",
        "JIRA_WEBHOOK_SECRET": SECRET,
        "FIELD_ENCRYPTION_KEY": every_service.field_encryption_key.get_secret_value(),
        "CONFIGURATION_API_ADMIN_KEY": KEY,
    }


@asynccontextmanager
async def running(service: str, port: int, environment: dict[str, str]) -> AsyncIterator[Process]:
    ports = {"JIRA_WEBHOOK_API_PORT": str(port), "CONFIGURATION_API_PORT": str(port)}
    metrics = free_port()
    process = await start(service, METRICS_PORT=str(metrics), **ports, **environment)

    async def lives() -> bool:
        assert process.returncode is None
        return await asyncio.to_thread(healthcheck.is_healthy, metrics) and await asyncio.to_thread(_listens, port)

    try:
        await until(lives, seconds=40)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def test_the_version_is_printed() -> None:
    assert await ended(await start("version")) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["version", "more"]])
async def test_a_wrong_call_shows_how(arguments: list[str]) -> None:
    code, _, error = await ended(await start(*arguments))
    assert code == 64
    assert all(service in error for service in SERVICES)


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ("jira-webhook-api", ["MONGO_URL", "RABBITMQ_URL", "JIRA_WEBHOOK_SECRET"]),
        ("configuration-api", ["MONGO_URL", "FIELD_ENCRYPTION_KEY"]),
        ("migrate", ["MONGO_URL", "FIELD_ENCRYPTION_KEY", "CONFIGURATION_API_ADMIN_KEY"]),
        ("rewrap-keys", ["MONGO_URL", "FIELD_ENCRYPTION_KEY"]),
        ("llm-gateway", ["MONGO_URL", "ANTHROPIC_API_KEY or CLAUDE_CODE_SESSION_TOKEN"]),
        ("mongodb-exporter", ["MONGO_URL"]),
    ],
)
async def test_a_service_without_its_variables_ends_with_78_naming_all(service: str, names: list[str]) -> None:
    code, out, error = await ended(await start(service))
    assert (code, out) == (78, "")
    assert error.count("\n") == 1
    assert all(name in error for name in names)


async def test_a_runner_without_a_place_for_jobs_says_so() -> None:
    code, out, error = await ended(await start("agent-runner", JOB_DIR="/nowhere"))
    assert (code, out) == (1, "")
    assert error == "sdlc-agents: /nowhere is no folder: the runner needs one of its own for each job (JOB_DIR)\n"


async def test_the_health_check_fails_where_nothing_runs() -> None:
    code, _, error = await ended(await start("healthcheck", METRICS_PORT=str(free_port())))
    assert code == 1
    assert "no healthy answer" in error


async def test_migrate_says_whether_it_changed_something(environment: dict[str, str]) -> None:
    answers = [await ended(await start("migrate", **environment)) for _ in range(2)]
    lines = [orjson.loads(out.splitlines()[-1]) for _, out, _ in answers]
    assert [code for code, _, _ in answers] == [0, 0]
    assert [line["event"] for line in lines] == ["migration_finished"] * 2
    assert [line["changed"] for line in lines] == [True, False]


async def test_migrate_with_another_master_key_ends_with_1(environment: dict[str, str]) -> None:
    code, out, _ = await ended(await start("migrate", **{**environment, "FIELD_ENCRYPTION_KEY": "A" * 128}))
    assert code == 1
    assert orjson.loads(out.splitlines()[-1])["event"] == "migration_failed"


async def test_the_bootstrap_key_opens_the_configuration_api_after_migrate(environment: dict[str, str]) -> None:
    await ended(await start("migrate", **environment))
    port = free_port()
    async with running("configuration-api", port, environment) as process, httpx.AsyncClient(timeout=20) as http:
        response = await http.get(f"http://127.0.0.1:{port}/api/projects", headers={"X-API-Key": KEY})
        assert (response.status_code, response.json()) == (200, [])
        process.send_signal(signal.SIGTERM)
        code, out, error = await ended(process)
    assert (code, error) == (0, "")
    assert [orjson.loads(line)["event"] for line in out.splitlines()][-1] == "service_stopped"
    assert KEY not in out


async def test_sigterm_finishes_what_was_accepted(environment: dict[str, str], db: Database, broker: Broker) -> None:
    del broker
    port = free_port()
    answers: list[httpx.Response | BaseException] = []
    async with running("jira-webhook-api", port, environment) as process, httpx.AsyncClient(timeout=20) as http:

        async def deliver(number: int) -> None:
            body = orjson.dumps(ticket("STOP", number))
            headers = {"X-Hub-Signature": sign(body, SECRET.encode())}
            answers.append(await http.post(f"http://127.0.0.1:{port}/webhook", content=body, headers=headers))

        load = [asyncio.create_task(deliver(number)) for number in range(200)]
        await asyncio.wait(load, return_when=asyncio.FIRST_COMPLETED)
        process.send_signal(signal.SIGTERM)
        stopped = asyncio.get_running_loop().time()
        code, out, _ = await ended(process)
        took = asyncio.get_running_loop().time() - stopped
        await asyncio.gather(*load, return_exceptions=True)
    accepted = [answer for answer in answers if isinstance(answer, httpx.Response) and answer.status_code == 200]
    assert code == 0
    assert took < 10
    assert accepted
    assert await db["webhook_events"].count_documents({}) >= len(accepted)
    assert SECRET not in out
