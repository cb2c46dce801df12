"""Budgets that jobs share, against a real database: by project and day, project and month, appliance and month."""

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdlc_agents.gateway.ledger import FRESH_SECONDS, Ledger
from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.pricing import Tokens
from sdlc_agents.gateway.repository import Answer, JobRepository, LedgerEntry
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.runs.tokens import digest
from sdlc_agents.spending.budgets import SpendingLimits, accounts, budgets, first_spent
from support.agents import GatewayProcess, open_job
from support.lab import API_KEY
from support.processes import free_port, service
from support.waiting import until

MODEL = "claude-sonnet-5-5"
TOOL = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}


def costly(tokens: int) -> dict[str, Any]:
    """A request whose answer claims so many input tokens, at 2 USD a million."""
    content = f"[[lab:nothing input-tokens={tokens}]]"
    return {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": content}],
        "tools": [TOOL],
    }


async def ask(url: str, token: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20, headers=headers) as client:
        return await client.post("/v1/messages", json=body)


async def sums(db: Database) -> dict[str, float]:
    return {document["_id"]: document["cost_usd"] async for document in db["llm_spending"].find()}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_cost_goes_to_the_utc_day_and_month() -> None:
    found = accounts("SHOP", datetime.fromisoformat("2026-12-31T23:30:00-02:00"))
    assert [account.id for account in found] == ["project:SHOP|2027-01-01", "project:SHOP|2027-01", "appliance|2027-01"]
    assert [account.id for account in accounts(None, moment("2026-02-28T12:00"))] == ["appliance|2026-02"]


@pytest.mark.parametrize(
    ("at", "day", "month"),
    [
        ("2026-11-25T19:00", "2026-11-26 00:00", "2026-12-01 00:00"),
        ("2026-12-31T23:59", "2027-01-01 00:00", "2027-01-01 00:00"),
        ("2028-02-29T00:00", "2028-03-01 00:00", "2028-03-01 00:00"),
    ],
)
def test_a_spent_budget_says_how_much_of_what_and_until_when(at: str, day: str, month: str) -> None:
    daily, monthly = budgets(SpendingLimits(project_day=5, project_month=50), "SHOP", moment(at))
    assert daily.message(5.25).startswith(
        f"the day's budget of project SHOP is spent, 5.2500 of 5.00 USD; it begins anew at {day} UTC."
    )
    assert "agent.daily_budget_usd" in daily.message(5)
    assert f"begins anew at {month} UTC" in monthly.message(50)
    assert "AGENT_MONTHLY_BUDGET_USD" in monthly.message(50)


def test_a_budget_without_a_sum_is_whole_and_one_that_is_reached_is_spent() -> None:
    held = budgets(SpendingLimits(project_day=1, appliance_month=10), "SHOP", moment("2026-11-25T19:00"))
    assert first_spent(held, {}) is None
    assert first_spent(held, {"project:SHOP|2026-11-25": 0.999, "project:OTHER|2026-11-25": 7}) is None
    assert first_spent(held, {"project:SHOP|2026-11-25": 1.0}) == (held[0], 1.0)
    assert first_spent(held, {"appliance|2026-11": 12.0}) == (held[1], 12.0)


async def test_an_answer_is_counted_in_its_job_and_in_every_sum(gateway: GatewayProcess, db: Database) -> None:
    job_id, token = await open_job(db, project_key="SHOP")
    assert (await ask(gateway.url, token, costly(6000))).status_code == 200
    job = await db["agent_jobs"].find_one({"_id": job_id})
    assert job is not None
    day, month, all_ = accounts("SHOP", now())
    assert await sums(db) == {account.id: pytest.approx(job["cost_usd"]) for account in (day, month, all_)}
    stored = await db["llm_spending"].find_one({"_id": day.id})
    assert stored is not None
    assert stored["requests"] == 1
    assert stored["usage"]["input_tokens"] == 6000
    assert stored["expires_at"] > day.ends


@pytest.mark.parametrize("field", ["daily_budget_usd", "monthly_budget_usd"])
async def test_the_next_job_of_a_project_that_spent_its_budget_is_refused(
    gateway: GatewayProcess, db: Database, field: str
) -> None:
    _, first = await open_job(db, project_key="SHOP", **{field: 0.01})
    _, second = await open_job(db, project_key="SHOP", **{field: 0.01})
    _, other = await open_job(db, project_key="OTHER", **{field: 0.01})
    assert (await ask(gateway.url, first, costly(6000))).status_code == 200
    for token in (first, second):
        refused = await ask(gateway.url, token, costly(6000))
        assert refused.status_code == 402
        assert refused.headers["x-should-retry"] == "false"
        error = refused.json()["error"]
        assert error["type"] == "billing_error"
        period = "day" if field.startswith("daily") else "month"
        assert f"the {period}'s budget of project SHOP is spent" in error["message"]
        assert f"agent.{field}" in error["message"]
    assert (await ask(gateway.url, other, costly(10))).status_code == 200
    metrics = await gateway.service.metrics()
    ratio = next(line for line in metrics.splitlines() if line.startswith('sdlc_llm_budget_used_ratio{budget="pro'))
    assert float(ratio.split()[-1]) > 1
    assert "SHOP" not in metrics


async def test_the_month_of_the_appliance_is_shared_by_all_and_models_may_be_listed(
    claude: str, database_environment: dict[str, str], db: Database, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        **database_environment,
        "LLM_GATEWAY_PORT": str(port),
        "CLAUDE_API_URL": claude,
        "ANTHROPIC_API_KEY": API_KEY,
        "LLM_GATEWAY_MONTHLY_BUDGET_USD": "0.01",
        "LLM_GATEWAY_MODELS": "claude-sonnet-*, claude-haiku-4-5",
    }
    url = f"http://127.0.0.1:{port}"
    async with service("llm-gateway", environment, tmp_path / "gateway.log"):
        _, first = await open_job(db, project_key="SHOP")
        _, second = await open_job(db, project_key="OTHER")
        refused = await ask(url, first, {**costly(10), "model": "claude-opus-5"})
        assert refused.status_code == 403
        assert refused.json()["error"]["type"] == "permission_error"
        assert "claude-sonnet-*, claude-haiku-4-5" in refused.json()["error"]["message"]
        assert (await ask(url, first, costly(6000))).status_code == 200
        refused = await ask(url, second, costly(10))
        assert refused.status_code == 402
        assert "the month's budget of the appliance is spent" in refused.json()["error"]["message"]
        assert "LLM_GATEWAY_MONTHLY_BUDGET_USD" in refused.json()["error"]["message"]


async def test_what_is_spent_elsewhere_and_jobs_that_are_closed_are_noticed_within_a_second(
    gateway: GatewayProcess, db: Database
) -> None:
    _, spender = await open_job(db, project_key="SHOP", daily_budget_usd=1.0)
    closed_id, closed = await open_job(db, project_key="OTHER")
    for token in (spender, closed):
        assert (await ask(gateway.url, token, costly(10))).status_code == 200
    day, *_ = accounts("SHOP", now())
    await db["llm_spending"].update_one({"_id": day.id}, {"$set": {"cost_usd": 2.0}})
    await db["agent_jobs"].update_one({"_id": closed_id}, {"$set": {"expires_at": now()}})
    await asyncio.sleep(FRESH_SECONDS)
    assert (await ask(gateway.url, spender, costly(10))).status_code == 402
    assert (await ask(gateway.url, closed, costly(10))).status_code == 403


async def test_an_answer_that_is_counted_again_counts_once(db: Database) -> None:
    _, token = await open_job(db, project_key="SHOP")
    repository = JobRepository(db)
    job = await repository.find(digest(token))
    assert job is not None
    first, second = (
        LedgerEntry(job, Answer(f"answer-{number}", Tokens(input_tokens=5), 0.5), accounts("SHOP", now()))
        for number in "12"
    )
    await repository.add([first])
    await repository.add([first])
    assert set((await sums(db)).values()) == {0.5}
    await repository.add([first, second])
    assert set((await sums(db)).values()) == {1.0}
    counted = await repository.find(digest(token))
    assert counted is not None
    assert counted.cost_usd == 1.0


async def test_answers_that_end_together_are_all_counted(db: Database) -> None:
    ledger = Ledger(JobRepository(db), GatewayMetrics(new_registry()), appliance_month_usd=None)
    jobs = [await open_job(db, project_key=key) for key in ("SHOP", "SHOP", "OTHER")]
    tokens = [token for _, token in jobs]
    found = {token: await ledger.find(token) for token in tokens}

    async def count(number: int, token: str) -> None:
        job = found[token]
        assert job is not None
        await ledger.store(ledger.expect(job, Answer(f"{token}-{number}", Tokens(output_tokens=1), 0.25)))

    await asyncio.gather(*(count(number, token) for number in range(8) for token in tokens))
    day, month, all_ = accounts("SHOP", now())
    stored = await sums(db)
    assert (stored[day.id], stored[month.id], stored[all_.id]) == (4.0, 4.0, 6.0)
    assert {job["cost_usd"] async for job in db["agent_jobs"].find()} == {2.0}


@pytest.mark.parametrize("field", ["max_cost_usd", "daily_budget_usd"])
async def test_answers_that_are_not_stored_yet_count_against_the_budget(
    gateway: GatewayProcess, db: Database, field: str
) -> None:
    job_id, token = await open_job(db, project_key="SHOP", **{field: 0.1})
    headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    statuses: list[int] = []

    async def answers_seen(count: int) -> bool:
        total = re.search(r"^sdlc_llm_tokens_total\{.*input.*\} (\S+)", await gateway.service.metrics(), re.MULTILINE)
        return total is not None and float(total[1]) >= count * 20_000

    async with (
        db.client.start_session() as session,
        httpx.AsyncClient(base_url=gateway.url, trust_env=False, timeout=20, headers=headers) as client,
        await session.start_transaction(),
    ):
        # What the gateway stores in the meantime meets this, and is tried again until it is over.
        await db["agent_jobs"].update_one({"_id": job_id}, {"$set": {"held": True}}, session=session)
        for _ in range(8):
            # The head is enough for a client that wants to know no more, and to be quick.
            async with client.stream("POST", "/v1/messages", json=costly(20_000)) as response:
                statuses.append(response.status_code)
            await until(lambda: answers_seen(statuses.count(200)), 10)
    assert statuses == [200, 200, 200, 402, 402, 402, 402, 402]

    async def counted() -> bool:
        job = await db["agent_jobs"].find_one({"_id": job_id})
        return job is not None and job.get("requests") == 3

    await until(counted, 30)
    assert (await ask(gateway.url, token, costly(10))).status_code == 402


class _Held(JobRepository):
    """Says that answers are stored only when it is let go on."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.stored = asyncio.Event()
        self.go_on = asyncio.Event()

    async def add(self, entries: Sequence[LedgerEntry]) -> None:
        await super().add(entries)
        self.stored.set()
        await self.go_on.wait()


async def test_a_budget_is_not_called_spent_because_it_was_read_while_an_answer_was_stored(db: Database) -> None:
    repository = _Held(db)
    ledger = Ledger(repository, GatewayMetrics(new_registry()), appliance_month_usd=None)
    _, token = await open_job(db, project_key="SHOP", max_cost_usd=1.0, daily_budget_usd=1.0)
    job = await repository.find(digest(token))
    assert job is not None
    storing = asyncio.create_task(ledger.store(ledger.expect(job, Answer("1", Tokens(output_tokens=1), 0.6))))
    await repository.stored.wait()
    assert await ledger.find(token) is not None
    await ledger.spent(job)
    repository.go_on.set()
    await storing
    found = await ledger.find(token)
    assert found is not None
    assert found.cost_usd == 0.6
    assert await ledger.spent(found) is None


async def test_an_answer_that_ends_while_the_database_is_away_is_counted_when_it_is_back(
    claude: str, database_environment: dict[str, str], db: Database, mongo_proxy: Any, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        **database_environment,
        "MONGO_URL": mongo_proxy.url,
        "LLM_GATEWAY_PORT": str(port),
        "CLAUDE_API_URL": claude,
        "ANTHROPIC_API_KEY": API_KEY,
    }
    job_id, token = await open_job(db, project_key="SHOP")
    slow = {**costly(10), "messages": [{"role": "user", "content": "[[lab:slow seconds=2]]"}]}
    async with service("llm-gateway", environment, tmp_path / "gateway.log") as gateway:
        asking = asyncio.create_task(ask(f"http://127.0.0.1:{port}", token, slow))
        async with httpx.AsyncClient(trust_env=False) as http:

            async def under_way() -> bool:
                asked = (await http.get(f"{claude}/_lab/requests")).json()["requests"]
                return [request["script"] for request in asked] == ["slow"]

            await until(under_way, 30)
        await mongo_proxy.cut()

        async def ended() -> bool:
            return "sdlc_llm_tokens_total{" in await gateway.metrics()

        await until(ended, 30)
        assert await sums(db) == {}
        await mongo_proxy.mend()

        async def counted() -> bool:
            job = await db["agent_jobs"].find_one({"_id": job_id})
            return job is not None and job.get("requests") == 1

        await until(counted, 30)
        assert (await asking).status_code == 200
    assert len(await sums(db)) == 3
