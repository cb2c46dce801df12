"""What the gateway tells the egress proxy about a job."""

import hashlib
from typing import Any

import httpx
import orjson
import pytest

from sdlc_agents.gateway.egress import matches
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from support.agents import GatewayProcess, open_job

TOKEN = "sdlc-egress-" + "e" * 32


async def egress_job(db: Database, *hosts: str, seconds: float = 600, token: str = TOKEN) -> str:
    sha256 = hashlib.sha256(token.encode()).hexdigest()
    job_id, _ = await open_job(db, seconds=seconds, egress_sha256=sha256, egress_hosts=list(hosts))
    return job_id


async def ask(gateway: GatewayProcess, **question: Any) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.post(f"{gateway.url}/v1/egress", json=question)).status_code


@pytest.mark.parametrize(
    ("host", "listed", "fits"),
    [
        ("packages.example", "packages.example", True),
        ("Packages.Example", "packages.example", True),
        ("a.packages.example", "packages.example", False),
        ("packages.example", ".packages.example", True),
        ("a.b.packages.example", ".packages.example", True),
        ("evilpackages.example", ".packages.example", False),
        ("packages.example.evil.example", ".packages.example", False),
        ("packages.example.", "packages.example", False),
    ],
)
def test_a_host_fits_its_own_name_and_with_a_dot_all_below(host: str, listed: str, fits: bool) -> None:  # noqa: FBT001
    assert matches(host, listed) is fits


async def test_a_job_reaches_what_its_project_names_and_nothing_else(gateway: GatewayProcess, db: Database) -> None:
    job = await egress_job(db, "packages.example", ".cdn.example")
    assert await ask(gateway, job=job, token=TOKEN) == 204
    assert await ask(gateway, job=job, token=TOKEN, host="packages.example") == 204
    assert await ask(gateway, job=job, token=TOKEN, host="eu.cdn.example") == 204
    assert await ask(gateway, job=job, token=TOKEN, host="other.example") == 403
    metrics = await gateway.service.metrics()
    assert 'sdlc_egress_decisions_total{result="allowed"} 3.0' in metrics
    assert TOKEN not in gateway.service.log.read_text()


async def test_it_takes_the_jobs_own_token_while_the_job_is_open(gateway: GatewayProcess, db: Database) -> None:
    job, other = await egress_job(db, "packages.example"), await egress_job(db, token="sdlc-egress-other-token")
    over = await egress_job(db, "packages.example", seconds=-1)
    without, job_token = await open_job(db, egress_sha256=None, egress_hosts=[])
    before, _ = await open_job(db)
    for name, token in (
        (job, "wrong"),
        (job, "sdlc-egress-other-token"),
        (other, TOKEN),
        (over, TOKEN),
        (without, job_token),
        (before, TOKEN),
        ("no-such", TOKEN),
    ):
        assert await ask(gateway, job=name, token=token, host="packages.example") == 403
    await db["agent_jobs"].update_one({"_id": job}, {"$set": {"expires_at": now()}})
    assert await ask(gateway, job=job, token=TOKEN, host="packages.example") == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no json", 400),
        (b"{}", 400),
        (orjson.dumps({"job": {"$ne": None}, "token": TOKEN}), 400),
        (orjson.dumps({"job": "j", "token": "t", "host": ""}), 400),
        (orjson.dumps({"job": "j", "token": "t", "host": "x" * 5000}), 413),
    ],
)
async def test_what_is_no_question_is_refused(gateway: GatewayProcess, body: bytes, status: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{gateway.url}/v1/egress", content=body)
    assert response.status_code == status
    assert response.json()["error"]["message"]
