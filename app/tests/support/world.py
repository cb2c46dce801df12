"""What a run needs and touches, every service a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from lab.services.jira import server as jira_server

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.serving import serve
from support.agents import Developments, GatewayProcess, RunnerProcesses
from support.backends import Broker
from support.lab import JIRA_TOKEN, Gitea, GiteaRepository, comments
from support.queues import publish
from support.relay import EgressProxy
from support.waiting import until


@dataclass(frozen=True)
class World:
    """What a run needs and touches."""

    gitea: Gitea
    gateway: GatewayProcess
    runners: RunnerProcesses
    broker: Broker
    proxy: EgressProxy
    developments: Developments
    db: Database
    directory: Path

    async def send(self, development_id: str) -> None:
        """Publish what the webhook API publishes."""
        document = await self.developments.get(development_id)
        fields = ("jira_issue_id", "jira_issue_key", "jira_project_key", "summary", "description")
        await self.publish({name: document[name] for name in fields} | {"development_id": development_id})

    async def publish(self, body: Any) -> None:
        """Publish anything."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        key = amqp.routing_key(self.developments.project_key)
        await publish(self.broker.channel, content, amqp.EXCHANGE, key)

    async def queue(self, description: str = "", *, number: int = 1) -> str:
        """A queued development, and its message."""
        development_id = await self.developments.queue(description, number=number)
        await self.send(development_id)
        return development_id

    async def repository(self) -> GiteaRepository:
        """A registered project with one repository."""
        repository = await self.gitea.make_repository()
        await self.developments.register(repository)
        return repository

    async def until_running(self, development_id: str) -> dict[str, Any]:
        """The document once its agent has started."""

        async def started() -> bool:
            return "agent_started_at" in (await self.developments.get(development_id))["timings"]

        await until(started, 30)
        return await self.developments.get(development_id)

    async def waiting_messages(self) -> int:
        """How many messages the queue holds."""
        return await self.broker.develop.count()

    def logs(self) -> str:
        """What the services wrote."""
        return "".join(path.read_text() for path in self.directory.glob("*.log"))


def bash(command: str) -> str:
    """A ticket that makes the scripted model run this."""
    return f"[[lab:bash]]\n```bash\n{command}\n```\n"


@asynccontextmanager
async def jira_with_a_ticket() -> AsyncIterator[tuple[int, httpx.AsyncClient, str]]:
    """The lab's Jira on loopback: its port, a client of its REST API, and the key of a ticket in it."""
    application = jira_server.build(JIRA_TOKEN)
    headers = {"Authorization": f"Bearer {JIRA_TOKEN}"}
    async with (
        serve(application, port=0, host="127.0.0.1") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/rest/api/2", headers=headers) as jira,
    ):
        fields = {"project": {"key": "SHOP"}, "issuetype": {"name": "Story"}, "summary": "Better"}
        yield port, jira, (await jira.post("/issue", json={"fields": fields})).json()["key"]


async def told_ends(jira: httpx.AsyncClient, key: str, number: int = 1) -> list[str]:
    """The comments that tell of an end, once there are so many; `TimeoutError` when there never are."""
    found: list[str] = []

    async def there() -> bool:
        found[:] = [body for body in await comments(jira, key) if "Outcome: " in body]
        return len(found) == number

    await until(there, 30)
    return found
