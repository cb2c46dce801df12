"""What the tests around agent runs start, and put into the database."""

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from support.lab import GiteaRepository
from support.processes import Service, free_port, service


@dataclass(frozen=True)
class GatewayProcess:
    """A running gateway."""

    url: str
    service: Service


StartConsumer = Callable[..., AbstractAsyncContextManager[Service]]
"""`async with start_consumer("name", SOME_SETTING="…") as service`: the type of the fixture."""


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
