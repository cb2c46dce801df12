"""A consumer, as far as a runner sees one, and its job."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from support.agents import GatewayProcess, RunnerProcesses, open_job
from support.repositories import bundle, git, make_repository

BRANCH = "feature/SHOP-1"


@dataclass
class Client:
    """A consumer, as far as the runner sees one."""

    url: str
    http: httpx.AsyncClient
    job: dict[str, Any]
    bundle: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, **given: Any) -> list[dict[str, Any]]:
        async with self.start(**given) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line:
                    self.events.append(orjson.loads(line))
        return self.events

    def start(self, **given: Any) -> Any:
        job = orjson.dumps(self.job | given).decode()
        return self.http.stream(
            "POST", f"{self.url}/v1/jobs", data={"job": job}, files={"bundle": ("b", self.bundle.read_bytes())}
        )

    async def result(self, repository: Path) -> str:
        """Fetch the result into the repository; its commit."""
        response = await self.http.get(f"{self.url}/v1/jobs/{self.job['job_id']}/bundle")
        assert response.status_code == 200
        path = repository.parent / "result.bundle"
        path.write_bytes(response.content)
        git(repository, "fetch", "--quiet", str(path), f"{BRANCH}:result")
        return git(repository, "rev-parse", "result")

    async def discard(self) -> int:
        return (await self.http.delete(f"{self.url}/v1/jobs/{self.job['job_id']}")).status_code


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "origin", {"README.md": "# A thing\n", "tests/test_x.py": ""})


@pytest.fixture
async def client(
    runners: RunnerProcesses, gateway: GatewayProcess, db: Database, repository: Path, tmp_path: Path
) -> AsyncIterator[Client]:
    job_id, token = await open_job(db)
    job = {
        "job_id": job_id,
        "prompt": "Do SHOP-1",
        "base_branch": "main",
        "branch": BRANCH,
        "start_commit": git(repository, "rev-parse", "main"),
        "author_name": "SDLC AI Agents",
        "author_email": "agents@example.test",
        "commit_message": "[SHOP-1] A change",
        "job_token": token,
        "gateway_url": gateway.url,
        "model": "claude-sonnet-5-5",
        "max_turns": 20,
        "timeout_seconds": 60,
        "max_cost_usd": 5,
        "tools": ["Read", "Edit", "Write", "Glob", "Grep", "Bash"],
    }
    url = await runners.start({"COLLECT_SECONDS": "20"})
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        yield Client(url, http, job, bundle(repository, tmp_path / "start.bundle", "main"))


def bash(command: str, option: str = "") -> str:
    """A prompt that makes the scripted model run this; an option of the script's: `anyway=1`, `background=1`."""
    return f"[[lab:bash {option}]]\n```bash\n{command}\n```\n"


def alive(pid: Path) -> bool:
    """Whether the process whose id is in the file runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{int(pid.read_text())}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"
