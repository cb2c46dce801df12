"""Answers that do not end as they should: whoever breaks one off, what it may have used is counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from sdlc_agents.gateway import upstream as way
from sdlc_agents.gateway.egress import Egress
from sdlc_agents.gateway.endpoints import create_app
from sdlc_agents.gateway.forwarding import Gateway
from sdlc_agents.gateway.ledger import Ledger
from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.policy import Policy
from sdlc_agents.gateway.pricing import PriceList
from sdlc_agents.gateway.repository import JobRepository
from sdlc_agents.gateway.settings import GatewaySettings
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.serving import serve
from support.agents import open_job
from support.backends import MakeSettings
from support.processes import free_port, service
from support.waiting import until

MODEL = "claude-sonnet-5-5"
TOOL = {"name": "Bash", "description": "x", "input_schema": {"type": "object", "properties": {}}}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
ANSWER = orjson.dumps({"type": "message", "usage": {"input_tokens": 7, "output_tokens": 5000}})
START = b'data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'

Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


def asked(text: str, *, stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 900, "messages": messages, "tools": [TOOL], "stream": stream}


def client(url: str, token: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}", "anthropic-version": "2023-06-01"}
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=20, headers=headers)


async def job(db: Database, job_id: str) -> dict[str, Any]:
    found = await db["agent_jobs"].find_one({"_id": job_id})
    assert found is not None
    return found


async def counted(db: Database, job_id: str) -> dict[str, Any]:
    """The job's usage once there is some."""

    async def some() -> bool:
        return "usage" in await job(db, job_id)

    await until(some)
    usage: dict[str, Any] = (await job(db, job_id))["usage"]
    return usage


@asynccontextmanager
async def api(answer: Answering) -> AsyncIterator[str]:
    """An API that reads one request of a connection and lets `answer` do the rest."""
    open_ones: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            await answer(writer)
        finally:
            writer.close()

    def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(asyncio.create_task(one(reader, writer)))

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)


Here = Callable[[str], Any]


@pytest.fixture
def here(db: Database, make_settings: MakeSettings) -> Here:
    """`here(url)`: a gateway in this process in front of the API at `url`; its address, and it is closed at the end."""

    @asynccontextmanager
    async def running(url: str) -> AsyncIterator[str]:
        registry = new_registry()
        metrics, jobs = GatewayMetrics(registry), JobRepository(db)
        upstream = way.Upstream(make_settings(GatewaySettings, claude_api_url=url, anthropic_api_key=SecretStr("k")))
        ledger = Ledger(jobs, metrics, appliance_month_usd=None)
        gateway = Gateway(ledger, upstream, Policy(PriceList({})), metrics, job_requests=1)
        app = create_app(gateway, Egress(jobs, metrics), registry)
        async with serve(app, port=0, host="127.0.0.1", graceful_seconds=1) as port:
            yield f"http://127.0.0.1:{port}"
        await gateway.close()
        await upstream.close()

    return running


async def test_hanging_up_on_an_answer_in_one_piece_does_not_make_it_free(here: Here, db: Database) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()
    answer = orjson.dumps({"type": "message", "text": "x" * 2_000_000, **orjson.loads(ANSWER)})

    async def late(writer: asyncio.StreamWriter) -> None:
        seen.set()
        await go_on.wait()
        writer.write(HEAD % len(answer) + answer)
        await writer.drain()

    job_id, token = await open_job(db)
    async with api(late) as url, here(url) as address:
        async with client(address, token) as http:
            asking = asyncio.create_task(http.post("/v1/messages", json=asked("x")))
            await seen.wait()
            asking.cancel()
            await asyncio.wait({asking})
        go_on.set()
        assert await counted(db, job_id) == {"input_tokens": 7, "output_tokens": 5000}


async def test_an_answer_in_one_piece_is_read_to_its_end_for_nobody_and_keeps_its_place(
    here: Here, db: Database
) -> None:
    go_on = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % len(ANSWER) + ANSWER[:5])
        await writer.drain()
        await go_on.wait()
        writer.write(ANSWER[5:])
        await writer.drain()

    job_id, token = await open_job(db)
    async with api(answer) as url, here(url) as address, client(address, token) as http:
        async with http.stream("POST", "/v1/messages", json=asked("x")) as response:
            assert response.status_code == 200
        async with client(address, token) as other:
            assert (await other.post("/v1/messages", json=asked("x"))).status_code == 429
        go_on.set()
        assert await counted(db, job_id) == {"input_tokens": 7, "output_tokens": 5000}


async def test_an_api_that_breaks_off_may_have_read_the_prompt(here: Here, db: Database) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        del writer

    job_id, token = await open_job(db)
    async with api(answer) as url, here(url) as address, client(address, token) as http:
        response = await http.post("/v1/messages", json=asked("x" * 4000))
        assert response.status_code == 502
        usage = await counted(db, job_id)
    assert list(usage) == ["input_tokens"]
    assert 1000 < usage["input_tokens"] < 1200


@pytest.mark.parametrize(("stream", "output"), [(False, {"output_tokens": 900}), (True, {})])
async def test_an_answer_that_does_not_come_in_time_may_have_been_written(
    here: Here,
    db: Database,
    monkeypatch: pytest.MonkeyPatch,
    stream: bool,  # noqa: FBT001
    output: Mapping[str, int],
) -> None:
    monkeypatch.setitem(way._TIMEOUT, "read", 0.2)

    async def answer(writer: asyncio.StreamWriter) -> None:
        del writer
        await asyncio.Event().wait()

    job_id, token = await open_job(db)
    async with api(answer) as url, here(url) as address, client(address, token) as http:
        response = await http.post("/v1/messages", json=asked("x" * 4000, stream=stream))
        assert response.status_code == 504
        usage = await counted(db, job_id)
    assert usage.pop("input_tokens") > 1000
    assert usage == output


async def test_what_was_never_sent_costs_nothing(here: Here, db: Database) -> None:
    job_id, token = await open_job(db)
    async with here(f"http://127.0.0.1:{free_port()}") as address, client(address, token) as http:
        assert (await http.post("/v1/messages", json=asked("x"))).status_code == 502
    assert "usage" not in await job(db, job_id)


@pytest.mark.parametrize(
    ("stream", "begin", "output"),
    [
        (True, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + START, 1),
        (False, b"", 900),
        (False, HEAD % len(ANSWER) + ANSWER[:5], 900),
    ],
)
async def test_what_is_under_way_when_the_gateway_is_stopped_is_counted(
    database_environment: dict[str, str],
    db: Database,
    tmp_path: Path,
    stream: bool,  # noqa: FBT001
    begin: bytes,
    output: int,
) -> None:
    seen = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await writer.drain()
        seen.set()
        await asyncio.Event().wait()

    job_id, token = await open_job(db)
    port = free_port()
    async with api(answer) as url:
        environment = {
            **database_environment,
            "LLM_GATEWAY_PORT": str(port),
            "CLAUDE_API_URL": url,
            "ANTHROPIC_API_KEY": "k",
        }
        async with (
            service("llm-gateway", environment, tmp_path / "gateway.log") as running,
            client(f"http://127.0.0.1:{port}", token) as http,
        ):
            asking = asyncio.create_task(http.post("/v1/messages", json=asked("x", stream=stream)))
            await seen.wait()
            running.terminate()
            assert await running.ended() == 0
            await asyncio.gather(asking, return_exceptions=True)
    stored = await job(db, job_id)
    assert stored["cost_usd"] > 0
    assert stored["usage"]["output_tokens"] == output
