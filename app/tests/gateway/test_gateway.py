"""The gateway as a process, between a client with a job token and the scripted Messages API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdlc_agents.kernel.mongo import Database
from support.agents import GatewayProcess, open_job
from support.lab import API_KEY
from support.processes import free_port, service
from support.waiting import until

MODEL = "claude-sonnet-5-5"


@pytest.fixture
async def api(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=gateway.url, trust_env=False, timeout=20, headers={"anthropic-version": "2023-06-01"}
    ) as client:
        yield client


def request(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def job(db: Database, job_id: str) -> dict[str, Any]:
    found = await db["agent_jobs"].find_one({"_id": job_id})
    assert found is not None
    return found


async def test_a_job_is_answered_and_what_it_used_is_counted(api: httpx.AsyncClient, db: Database) -> None:
    job_id, token = await open_job(db)
    response = await api.post("/v1/messages?beta=true", json=request(), headers=bearer(token))
    assert response.status_code == 200, response.text
    usage = response.json()["usage"]
    stored = await job(db, job_id)
    assert stored["requests"] == 1
    assert stored["usage"] == {name: usage[name] for name in ("input_tokens", "output_tokens")}
    assert stored["cost_usd"] == pytest.approx((usage["input_tokens"] * 2 + usage["output_tokens"] * 10) / 1_000_000)


async def test_a_stream_is_passed_on_as_it_comes_and_counted(api: httpx.AsyncClient, db: Database) -> None:
    job_id, token = await open_job(db)
    tool = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}
    asked = request("[[lab:slow seconds=2]]", stream=True, tools=[tool])
    loop = asyncio.get_running_loop()
    began, first = loop.time(), 0.0
    text = ""
    async with api.stream("POST", "/v1/messages", json=asked, headers=bearer(token)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for chunk in response.aiter_text():
            first = first or loop.time() - began
            text += chunk
    assert first < loop.time() - began - 1, "nothing came before the end"
    assert "event: message_stop" in text
    assert (await job(db, job_id))["usage"]["output_tokens"] > 0


async def test_the_key_is_added_and_the_job_token_goes_no_further(
    database_environment: dict[str, str], db: Database, tmp_path: Path
) -> None:
    seen: list[bytes] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\nrequest-id: req_1\r\n\r\n{}")
        await writer.drain()
        writer.close()

    _, token = await open_job(db)
    async with await asyncio.start_server(upstream, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/company/proxy/"
        for variable, expected in (
            ("ANTHROPIC_API_KEY", b"x-api-key: the-key"),
            ("CLAUDE_CODE_SESSION_TOKEN", b"authorization: bearer the-key"),
        ):
            port = free_port()
            environment = {
                **database_environment,
                "LLM_GATEWAY_PORT": str(port),
                "CLAUDE_API_URL": address,
                variable: "the-key",
            }
            async with (
                service("llm-gateway", environment, tmp_path / f"{variable}.log") as running,
                httpx.AsyncClient(trust_env=False) as client,
            ):
                response = await client.post(
                    f"http://127.0.0.1:{port}/v1/messages?beta=true",
                    json=request(),
                    headers=bearer(token)
                    | {"x-api-key": token, "cookie": "c=d", "anthropic-beta": "one,two", "anthropic-version": "v"},
                )
                log = running.log.read_text()
            assert response.status_code == 200
            assert response.headers["request-id"] == "req_1"
            assert "set-cookie" not in response.headers
            head = seen.pop()
            assert head.startswith(b"POST /company/proxy/v1/messages?beta=true ")
            assert token.encode() not in head
            assert b"cookie" not in head.lower()
            assert expected in head.lower()
            assert b"anthropic-version: v" in head.lower()
            betas = b"one,two" if variable == "ANTHROPIC_API_KEY" else b"one,two,oauth-2025-04-20"
            assert b"anthropic-beta: " + betas + b"\r\n" in head.lower()
            assert token not in log
            assert "the-key" not in log


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}])
async def test_without_a_jobs_token_there_is_no_way_through(
    api: httpx.AsyncClient, db: Database, headers: dict[str, str]
) -> None:
    await open_job(db)
    response = await api.post("/v1/messages", json=request(), headers=headers)
    assert response.status_code == 401
    assert response.json()["type"] == "error"
    assert response.json()["error"]["type"] == "authentication_error"


async def test_the_apis_own_key_is_no_job_token(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/messages", json=request(), headers=bearer(API_KEY) | {"x-api-key": API_KEY})
    assert response.status_code == 401


async def test_the_token_of_a_job_that_is_over_is_refused(api: httpx.AsyncClient, db: Database) -> None:
    _, token = await open_job(db, seconds=-1)
    response = await api.post("/v1/messages", json=request(), headers=bearer(token))
    assert response.status_code == 403
    assert "is over" in response.json()["error"]["message"]


async def test_a_job_over_its_budget_is_refused_and_told_not_to_retry(api: httpx.AsyncClient, db: Database) -> None:
    job_id, token = await open_job(db, max_cost_usd=0.01)
    tool = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}
    asked = request("[[lab:nothing input-tokens=6000]]", tools=[tool])
    assert (await api.post("/v1/messages", json=asked, headers=bearer(token))).status_code == 200
    refused = await api.post("/v1/messages", json=asked, headers=bearer(token))
    assert refused.status_code == 402
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["error"]["type"] == "billing_error"
    assert "0.01 USD" in refused.json()["error"]["message"]
    assert (await job(db, job_id))["requests"] == 1


async def test_counting_tokens_costs_nothing(api: httpx.AsyncClient, db: Database) -> None:
    job_id, token = await open_job(db)
    asked = request()
    del asked["max_tokens"]
    response = await api.post("/v1/messages/count_tokens", json=asked, headers=bearer(token))
    assert response.json()["input_tokens"] > 0
    assert "requests" not in await job(db, job_id)


async def test_other_addresses_of_the_api_are_closed(api: httpx.AsyncClient, db: Database) -> None:
    _, token = await open_job(db)
    for path in ("/v1/models", "/v1/files", "/v1/organizations/api_keys"):
        response = await api.get(path, headers=bearer(token))
        assert response.status_code == 404
        assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("status", [429, 529])
async def test_an_overloaded_api_is_passed_on_with_when_to_come_back(
    api: httpx.AsyncClient, db: Database, status: int
) -> None:
    job_id, token = await open_job(db)
    tool = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}
    asked = request(f"[[lab:error status={status} retry-after=7]]", tools=[tool])
    response = await api.post("/v1/messages", json=asked, headers=bearer(token))
    assert (response.status_code, response.headers["retry-after"]) == (status, "7")
    assert "cost_usd" not in await job(db, job_id)


async def test_one_job_cannot_have_more_requests_under_way_than_allowed(api: httpx.AsyncClient, db: Database) -> None:
    _, token = await open_job(db)
    tool = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}
    asked = request("[[lab:slow seconds=3]]", tools=[tool])
    answers = await asyncio.gather(*(api.post("/v1/messages", json=asked, headers=bearer(token)) for _ in range(12)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 8 + [429] * 4
    assert (await api.post("/v1/messages", json=request(), headers=bearer(token))).status_code == 200


async def test_hanging_up_in_the_middle_is_counted(api: httpx.AsyncClient, db: Database) -> None:
    job_id, token = await open_job(db)
    tool = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}
    asked = request("[[lab:slow seconds=30]]", stream=True, tools=[tool])
    async with api.stream("POST", "/v1/messages", json=asked, headers=bearer(token)) as response:
        async for _ in response.aiter_raw():
            break

    async def counted() -> bool:
        return bool((await job(db, job_id)).get("cost_usd"))

    await until(counted)


async def test_an_api_that_is_away_is_a_retryable_error(
    database_environment: dict[str, str], db: Database, tmp_path: Path
) -> None:
    _, token = await open_job(db)
    port = free_port()
    environment = {
        **database_environment,
        "LLM_GATEWAY_PORT": str(port),
        "CLAUDE_API_URL": f"http://127.0.0.1:{free_port()}",
        "ANTHROPIC_API_KEY": "k",
    }
    async with (
        service("llm-gateway", environment, tmp_path / "gateway.log"),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(f"http://127.0.0.1:{port}/v1/messages", json=request(), headers=bearer(token))
    assert response.status_code == 502
    assert response.headers["x-should-retry"] == "true"
    assert response.json()["error"]["type"] == "api_error"


async def test_figures_are_there_for_prometheus(api: httpx.AsyncClient, gateway: GatewayProcess, db: Database) -> None:
    _, token = await open_job(db)
    await api.post("/v1/messages", json=request(), headers=bearer(token))
    await api.post("/v1/messages", json=request(), headers=bearer("wrong"))
    metrics = await gateway.service.metrics()
    for line in (
        f'sdlc_llm_requests_total{{model="{MODEL}",status="200"}} 1.0',
        'sdlc_llm_refused_total{reason="authentication_error"} 1.0',
        'http_requests_total{endpoint="/v1/messages",method="POST",status="401"} 1.0',
    ):
        assert line in metrics
    assert token not in gateway.service.log.read_text()


async def test_both_kinds_of_key_at_once_are_a_configuration_error(
    database_environment: dict[str, str], tmp_path: Path
) -> None:
    environment = {**database_environment, "ANTHROPIC_API_KEY": "a", "CLAUDE_CODE_SESSION_TOKEN": "b"}
    async with service("llm-gateway", environment, tmp_path / "gateway.log", ready=False) as running:
        assert await running.ended() == 78
    assert "only one of them may be set" in running.log.read_text()
