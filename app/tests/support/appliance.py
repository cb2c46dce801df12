"""A whole appliance on loopback, without pytest: engines, forge and tracker of its own, every service a process.

Between the services stand gates (`support.gates`), and each service is started again when it ends. What the processes
have in common is the name of `folder`: in their environment, their arguments or their working directory.
"""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pymongo
import trustme
from lab.services.gitea import local
from lab.services.jira import server as jira_server
from pydantic import SecretStr

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.mongo import Database, Document
from sdlc_agents.kernel.serving import serve
from sdlc_agents.kernel.settings import AmqpSettings, EncryptionSettings
from sdlc_agents.migrations import schema
from support.agents import Developments
from support.backends import FIELD_ENCRYPTION_KEY
from support.engines import Engine, mongod, rabbitmq
from support.gates import Gate, gate
from support.lab import API_KEY, JIRA_TOKEN, Gitea, GiteaRepository, comments, scripted_claude
from support.processes import Kept, free_port
from support.queues import publish
from support.relay import tls_front

PROJECT = "SHOP"
"""The lab's Jira has this project."""
DATABASE = "sdlc_agent"
_PAGE = 50
_MESSAGE = ("jira_issue_id", "jira_issue_key", "jira_project_key", "summary", "description")


@dataclass(frozen=True)
class Gates:
    """Where messages can be held: in front of what they are named after. Each consumer has its own to the tracker."""

    database: Gate
    forge: Gate
    model: Gate
    runners: tuple[Gate, ...]
    trackers: Mapping[str, Gate]

    def forget(self) -> None:
        """Hold nothing anywhere."""
        for one in (self.database, self.forge, self.model, *self.runners, *self.trackers.values()):
            one.forget()


@dataclass
class Appliance:
    """Everything of it; consumers are named `consumer-1` and so on."""

    folder: Path
    mongod: Engine
    rabbitmq: Engine
    db: Database
    developments: Developments
    gitea: Gitea
    repository: GiteaRepository
    jira: httpx.AsyncClient
    gates: Gates
    gateway: Kept
    runners: list[Kept]
    runner_urls: list[str]
    consumers: dict[str, Kept]

    @property
    def services(self) -> list[Kept]:
        """All of them."""
        return [self.gateway, *self.runners, *self.consumers.values()]

    async def ready(self) -> None:
        """Return when every service is."""
        await asyncio.gather(*(kept.ready() for kept in self.services))

    async def ticket(self, summary: str = "Make it better") -> str:
        """A ticket in Jira; its key."""
        fields = {"project": {"key": PROJECT}, "issuetype": {"name": "Story"}, "summary": summary}
        answer = await self.jira.post("/issue", json={"fields": fields})
        return str(answer.raise_for_status().json()["key"])

    async def comments(self, key: str) -> list[str]:
        """What a ticket was told."""
        return await comments(self.jira, key)

    async def accept(self, *tickets: tuple[str, str]) -> list[str]:
        """What the webhook API does with tickets (key, description): store each, publish its message. Their ids."""
        broker = amqp.Connection(AmqpSettings(rabbitmq_url=SecretStr(self.rabbitmq.url)), application="tests")
        channel = await broker.open()
        try:
            return [await self._accept(channel, key, description) for key, description in tickets]
        finally:
            await broker.close()

    async def _accept(self, channel: amqp.Channel, key: str, description: str) -> str:
        development_id = await self.developments.queue(description, number=int(key.rpartition("-")[2]))
        document = await self.developments.get(development_id)
        body = {name: document[name] for name in _MESSAGE} | {"development_id": development_id}
        await publish(channel, orjson.dumps(body), amqp.EXCHANGE, amqp.routing_key(PROJECT))
        return development_id

    async def pull_requests(self) -> list[dict[str, Any]]:
        """Every pull request that was ever opened."""
        found: list[dict[str, Any]] = []
        for page in range(1, 1000):
            listed = await self.repository.call("GET", f"/pulls?state=all&limit={_PAGE}&page={page}")
            found += listed
            if len(listed) < _PAGE:
                break
        return found

    async def idle_runners(self) -> list[bool]:
        """Which of the runners would take a job."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            found = []
            for url in self.runner_urls:
                state = None
                with suppress(httpx.HTTPError):
                    state = (await client.get(f"{url}/v1/jobs")).json()["state"]
                found.append(state == "idle")
        return found

    def strays(self) -> dict[int, str]:
        """Processes of this appliance that are none of its services: their ids and commands."""
        mark = self.folder.name.encode()
        known = {kept.current.pid for kept in self.services}
        found: dict[int, str] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            if int(entry.name) in known:
                continue
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                where = str((entry / "cwd").readlink()).encode()
                if mark in command or mark in where or mark in (entry / "environ").read_bytes():
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")[:200]
        return found

    def leftovers(self) -> list[str]:
        """Files of runs that lie about, at consumers and at runners."""
        places = [self.folder / "workspace" / name for name in self.consumers]
        jobs = [self.folder / f"job-{number}" for number in range(len(self.runners))]
        places += [directory / part for directory in jobs for part in ("repository", "home", "tmp")]
        files = [path for place in places if place.is_dir() for path in place.iterdir()]
        files += [path for directory in jobs for path in directory.glob("*.bundle")]
        return [str(path.relative_to(self.folder)) for path in files]


@asynccontextmanager
async def appliance(
    folder: Path, *, runners: int, consumers: int, given: Mapping[str, str] | None = None
) -> AsyncIterator[Appliance]:
    """All of it, ready, until the block is left. `given` are the consumers' settings that are not the product's own."""
    outside, folder = folder / "forge", folder / f"agents-{secrets.token_hex(4)}"
    for directory in (outside, folder):
        directory.mkdir()
    async with AsyncExitStack() as stack:
        database, broker = await stack.enter_async_context(mongod()), await stack.enter_async_context(rabbitmq())
        await asyncio.gather(database.ready(), broker.ready())
        client = await stack.enter_async_context(pymongo.AsyncMongoClient[Document](database.url, tz_aware=True))
        db = client[DATABASE]
        await schema.migrate(db)
        cipher = FieldCipher(db, master_key(EncryptionSettings(field_encryption_key=SecretStr(FIELD_ENCRYPTION_KEY))))
        stack.push_async_callback(cipher.close)
        await cipher.ensure_key()

        forge, gitea = await _forge(stack, outside)
        tracker_port = await stack.enter_async_context(serve(jira_server.build(JIRA_TOKEN), port=0, host="127.0.0.1"))
        names = [f"consumer-{number}" for number in range(1, consumers + 1)]
        trackers = {name: await stack.enter_async_context(gate(tracker_port)) for name in names}
        jira = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{tracker_port}/rest/api/2",
                headers={"Authorization": f"Bearer {JIRA_TOKEN}"},
                trust_env=False,
            )
        )
        model = await stack.enter_async_context(gate(_port(await stack.enter_async_context(scripted_claude()))))
        to_database = await stack.enter_async_context(gate(_port(database.url)))

        # As in the image, where modules are compiled.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}

        def keep(name: str, environment: Mapping[str, str], log: str) -> Kept:
            kept = Kept(name, {**compiled, **environment}, folder / f"{log}.log")
            kept.start()
            stack.push_async_callback(kept.stop)
            return kept

        mongo = {
            "MONGO_DATABASE": DATABASE,
            "MONGO_URL": f"mongodb://127.0.0.1:{to_database.port}/?directConnection=true",
        }
        gateway_port = free_port()
        gateway = keep(
            "llm-gateway",
            {
                "MONGO_DATABASE": DATABASE,
                "MONGO_URL": database.url,
                "LLM_GATEWAY_PORT": str(gateway_port),
                "CLAUDE_API_URL": model.url,
                "ANTHROPIC_API_KEY": API_KEY,
            },
            "gateway",
        )
        running, urls, to_runners = [], [], []
        for number in range(runners):
            port = free_port()
            directory = folder / f"job-{number}"
            directory.mkdir()
            environment = {"AGENT_RUNNER_PORT": str(port), "JOB_DIR": str(directory), "MINIMUM_UPTIME_SECONDS": "0"}
            running.append(keep("agent-runner", environment, f"runner-{number}"))
            urls.append(f"http://127.0.0.1:{port}")
            to_runners.append(await stack.enter_async_context(gate(port)))
        common = {
            **mongo,
            "RABBITMQ_URL": broker.url,
            "FIELD_ENCRYPTION_KEY": FIELD_ENCRYPTION_KEY,
            "AGENT_RUNNER_URLS": ",".join(entry.url for entry in to_runners),
            "LLM_GATEWAY_URL": f"http://127.0.0.1:{gateway_port}",
            "EXTRA_CA_FILE": str(gitea.ca_file),
            "MIRROR_DIR": str(folder / "mirrors"),
            "WORKSPACE_DIR": str(folder / "workspace"),
            "JIRA_API_TOKEN": JIRA_TOKEN,
            **(given or {}),
        }
        developments = Developments(db, cipher, PROJECT)
        repository = await gitea.make_repository()
        await developments.register(repository)
        made = Appliance(
            folder=folder,
            mongod=database,
            rabbitmq=broker,
            db=db,
            developments=developments,
            gitea=gitea,
            repository=repository,
            jira=jira,
            gates=Gates(to_database, forge, model, tuple(to_runners), trackers),
            gateway=gateway,
            runners=running,
            runner_urls=urls,
            consumers={
                name: keep(
                    "developer-agent-consumer",
                    common | {"CONSUMER_NAME": name, "JIRA_API_URL": trackers[name].url},
                    name,
                )
                for name in names
            },
        )
        await made.ready()
        yield made


async def _forge(stack: AsyncExitStack, folder: Path) -> tuple[Gate, Gitea]:
    """A Gitea, and the gate between it and the TLS in front of it."""
    authority = trustme.CA()
    authority_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(authority_file))
    plain = await asyncio.to_thread(local.start_local, folder, free_port())
    stack.callback(local.stop_local, plain.url)
    forge = await stack.enter_async_context(gate(_port(plain.url)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    front = tls_front(forge.port, context)
    port = await asyncio.to_thread(front.__enter__)
    stack.push_async_callback(asyncio.to_thread, front.__exit__, None, None, None)
    administrator = (folder / "admin_token").read_text(encoding="ascii").strip()
    return forge, Gitea(f"https://127.0.0.1:{port}", administrator, plain.token, authority_file)


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
