"""Fixtures of the tests around agent runs; each such folder's conftest imports what it needs."""

import asyncio
import hashlib
import secrets
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from support.database_users import DatabaseUsers
from support.lab import API_KEY, Gitea, GiteaRepository, lab_module, scripted_claude
from support.processes import Service, free_port, service
from support.relay import EgressProxy, egress_proxy, tls_front


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority of the tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, as EXTRA_CA_FILE names one."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def gitea(authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    """A real Gitea behind TLS, started (and built, where the lab's cache lacks it) by the lab's code."""
    directory = tmp_path_factory.mktemp("gitea")
    local = lab_module("services.gitea.local")
    plain = local.start_local(directory, free_port())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    try:
        with tls_front(int(plain.url.rpartition(":")[2]), context) as port:
            admin = (directory / "admin_token").read_text(encoding="ascii").strip()
            yield Gitea(f"https://127.0.0.1:{port}", admin, plain.token, authority_file)
    finally:
        local.stop_local(plain.url)


@pytest.fixture
async def claude() -> AsyncIterator[str]:
    """The scripted Messages API's base URL."""
    async with scripted_claude() as url:
        yield url


@pytest.fixture
async def proxy() -> AsyncIterator[EgressProxy]:
    """The egress proxy."""
    async with egress_proxy() as running:
        yield running


@pytest.fixture
def database_environment(database_users: DatabaseUsers) -> dict[str, str]:
    """MONGO_* for the gateway's process: a user with its rights, and no other."""
    return database_users.environment("gateway")


@dataclass(frozen=True)
class GatewayProcess:
    """A running gateway."""

    url: str
    service: Service


@pytest.fixture
async def gateway(
    claude: str,
    database_environment: dict[str, str],
    db: Database,
    tmp_path: Path,
) -> AsyncIterator[GatewayProcess]:
    """The gateway as a process, in front of the scripted API, with its user's rights."""
    del db  # its indexes and validators are needed
    port = free_port()
    environment = {
        **database_environment,
        "LLM_GATEWAY_PORT": str(port),
        "CLAUDE_API_URL": claude,
        "ANTHROPIC_API_KEY": API_KEY,
    }
    async with service("llm-gateway", environment, tmp_path / "gateway.log") as running:
        yield GatewayProcess(f"http://127.0.0.1:{port}", running)


class RunnerProcesses:
    """Starts runners, and starts each again when it ends, as Docker does.

    `prefix` makes the command that runs one, from its job directory.
    """

    def __init__(
        self, stack: AsyncExitStack, directory: Path, prefix: Callable[[Path], Sequence[str]] = lambda _: ()
    ) -> None:
        self._stack = stack
        self._prefix = prefix
        self._directory = directory
        self._tasks: list[asyncio.Task[None]] = []
        self.urls: list[str] = []
        self.current: dict[str, Service] = {}

    async def start(self, environment: dict[str, str] | None = None) -> str:
        """Start one more; its URL."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        up = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._keep(url, port, environment or {}, up)))
        async with asyncio.timeout(30):
            await up.wait()
        self.urls.append(url)
        return url

    async def stop(self) -> None:
        """End all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, url: str, port: int, environment: dict[str, str], up: asyncio.Event) -> None:
        directory = self._directory / f"job-{port}"
        directory.mkdir()
        given = {
            "AGENT_RUNNER_PORT": str(port),
            "JOB_DIR": str(directory),
            "MINIMUM_UPTIME_SECONDS": "0",
            **environment,
        }
        while True:
            prefix = self._prefix(directory)
            async with service("agent-runner", given, self._directory / "runner.log", prefix=prefix) as running:
                self.current[url] = running
                up.set()
                await running.process.wait()


@pytest.fixture
async def runners(tmp_path: Path) -> AsyncIterator[RunnerProcesses]:
    """Runners as processes."""
    async with AsyncExitStack() as stack:
        processes = RunnerProcesses(stack, tmp_path)
        try:
            yield processes
        finally:
            await processes.stop()


async def open_job(db: Database, *, max_cost_usd: float = 5.0, seconds: float = 600, **fields: Any) -> tuple[str, str]:
    """A job that the gateway knows: (job id, token)."""
    job_id, token = uuid.uuid4().hex, f"sdlc-job-{secrets.token_urlsafe(32)}"
    await db["agent_jobs"].insert_one(
        {
            "_id": job_id,
            "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
            "development_id": uuid.uuid4().hex,
            "max_cost_usd": max_cost_usd,
            "expires_at": now() + timedelta(seconds=seconds),
            **fields,
        }
    )
    return job_id, token


@dataclass
class Developments:
    """Puts projects and developments into the database as the APIs do."""

    db: Database
    cipher: FieldCipher
    project_key: str
    _latest: datetime = field(default=datetime.min.replace(tzinfo=UTC), init=False)

    async def register(self, *repositories: GiteaRepository | str, token: str = "") -> None:
        """A project of the test's key with these repositories."""
        documents = []
        for number, repository in enumerate(repositories):
            known = isinstance(repository, GiteaRepository)
            secret = token or (repository.gitea.bot_token if isinstance(repository, GiteaRepository) else "none")
            documents.append(
                {
                    "repository_id": repository.name if isinstance(repository, GiteaRepository) else f"repo-{number}",
                    "url": repository.url if isinstance(repository, GiteaRepository) else repository,
                    "description": "" if known else "no forge",
                    "git_access_token": await self.cipher.encrypt(secret),
                    "git_access_token_hint": "****",
                    "base_branch": None,
                }
            )
        moment = now()
        await self.db["projects"].insert_one(
            {
                "_id": uuid.uuid4().hex,
                "name": "Test",
                "description": "",
                "scope": "",
                "jira_project_key": self.project_key,
                "jira_project_name": "",
                "jira_project_url": "https://jira.example.test/projects/T",
                "repositories": documents,
                "created_at": moment,
                "updated_at": moment,
            }
        )

    async def queue(self, description: str = "", *, number: int = 1, age: timedelta = timedelta()) -> str:
        """A queued development, as the webhook API's publisher makes it; its id.

        It is at least a millisecond younger than the one before: what is of the same has no order.
        """
        development_id = uuid.uuid4().hex
        self._latest = max(now(), self._latest + timedelta(milliseconds=1))
        moment = self._latest - age
        await self.db["developments"].insert_one(
            {
                "_id": development_id,
                "status": "queued",
                "jira_issue_id": str(10_000 + number),
                "jira_issue_key": f"{self.project_key}-{number}",
                "jira_project_key": self.project_key,
                "summary": "Make it better",
                "description": description,
                "components": [],
                "repository_url": None,
                "branch_name": None,
                "prompt": "",
                "created_at": moment,
                "timings": {"accepted_at": moment},
            }
        )
        return development_id

    async def get(self, development_id: str) -> dict[str, Any]:
        """The document."""
        found = await self.db["developments"].find_one({"_id": development_id})
        assert found is not None
        return found

    async def ended(self, development_id: str, seconds: float = 75.0, *, every: float = 0.05) -> dict[str, Any]:
        """The document once the development ended; it is looked at `every` so many seconds."""
        return await self.until(development_id, {"completed", "failed", "cancelled"}, seconds, every=every)

    async def until(
        self, development_id: str, states: set[str], seconds: float = 20.0, *, every: float = 0.05
    ) -> dict[str, Any]:
        """The document once it has one of these states."""
        async with asyncio.timeout(seconds):
            while True:
                document = await self.get(development_id)
                if document["status"] in states:
                    return document
                await asyncio.sleep(every)


@pytest.fixture
def developments(db: Database, cipher: FieldCipher, project_key: str) -> Developments:
    """Projects and developments of the test's own."""
    return Developments(db, cipher, project_key)
