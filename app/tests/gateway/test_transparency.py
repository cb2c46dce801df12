"""What passes unchanged: bodies to the byte, when to come back as the API says it, and the figures of its cache."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from support.agents import open_job
from support.processes import free_port, service

# Spaces, order and escapes as no serialiser would write them again.
BODY = (
    b'{"model" : "claude-sonnet-5-5","max_tokens":10,  "stream": false,\n'
    b' "system":[{"type":"text","text":"caf\\u00e9","cache_control":{"ttl":"1h","type":"ephemeral"}}],'
    b'"messages":[{"content":"hi","role":"user"}]}'
)
USAGE = {
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_creation_input_tokens": 3000,
    "cache_read_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000},
}


class Api:
    """Answers every request with the same bytes, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answer = b""
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with one request."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        self.heads.append(head.lower())
        self.bodies.append(await reader.readexactly(int(length.split(b":")[1])))
        writer.write(self.answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def _running(api: Api) -> AsyncIterator[Api]:
    async with await asyncio.start_server(api.handle, "127.0.0.1", 0) as server:
        api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield api


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """The API."""
    async with _running(Api()) as running:
        yield running


@pytest.fixture
async def url(api: Api, database_environment: dict[str, str], db: Database, tmp_path: Path) -> AsyncIterator[str]:
    """A gateway in front of it."""
    del db
    port = free_port()
    environment = {
        **database_environment,
        "LLM_GATEWAY_PORT": str(port),
        "CLAUDE_API_URL": api.url,
        "ANTHROPIC_API_KEY": "k",
    }
    async with service("llm-gateway", environment, tmp_path / "gateway.log"):
        yield f"http://127.0.0.1:{port}/v1/messages"


async def post(url: str, token: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(url, content=BODY, headers={"authorization": f"Bearer {token}", **headers})


async def test_a_body_with_cache_control_goes_out_to_the_byte_and_the_caches_tokens_are_counted_and_priced(
    api: Api, url: str, db: Database
) -> None:
    content = orjson.dumps({"type": "message", "usage": USAGE})
    api.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content)
    api.answer += content
    job_id, token = await open_job(db)
    response = await post(url, token, **{"anthropic-beta": "extended-cache-ttl-2025-04-11,prompt-caching-scope"})
    assert response.content == content
    assert api.bodies == [BODY]
    assert b"anthropic-beta: extended-cache-ttl-2025-04-11,prompt-caching-scope\r\n" in api.heads[0]
    job = await db["agent_jobs"].find_one({"_id": job_id})
    assert job is not None
    assert job["usage"] == {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_creation_input_tokens": 3000,
        "cache_creation_1h_input_tokens": 2000,
        "cache_read_input_tokens": 4000,
    }
    # 2 and 10 USD a million; caching for five minutes costs 1.25 times the input, for an hour twice; reading 0.1.
    expected = (10 * 2 + 20 * 10 + 1000 * 2.5 + 2000 * 4 + 4000 * 0.1) / 1_000_000
    assert job["cost_usd"] == pytest.approx(expected)


@pytest.mark.parametrize("status", [429, 529, 500])
async def test_when_to_come_back_is_passed_on_as_it_is(api: Api, url: str, db: Database, status: int) -> None:
    headers = {
        "retry-after": "17",
        "retry-after-ms": "16500",
        "x-should-retry": "true",
        "anthropic-ratelimit-requests-reset": "2026-11-25T19:00:00Z",
        "request-id": "req_1",
    }
    content = b'{"type":"error","error":{"type":"overloaded_error","message":"later"}}'
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    api.answer = f"HTTP/1.1 {status} X\r\n{head}content-length: {len(content)}\r\n\r\n".encode() + content
    job_id, token = await open_job(db)
    response = await post(url, token)
    assert (response.status_code, response.content) == (status, content)
    assert {name: response.headers[name] for name in headers} == headers
    job = await db["agent_jobs"].find_one({"_id": job_id})
    assert job is not None
    assert "cost_usd" not in job
    assert await db["llm_spending"].count_documents({}) == 0
