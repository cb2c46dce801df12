"""A repository, and a consumer that has a job for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from runner.client import BRANCH, Client
from sdlc_agents.kernel.mongo import Database
from support.agents import GatewayProcess, RunnerProcesses, open_job
from support.repositories import bundle, git, make_repository


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
