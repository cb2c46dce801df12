"""Large bodies: however many come, the gateway stays within its memory and answers everybody else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import orjson
import pytest

from sdlc_agents.gateway.bodies import BODY_BYTES, SMALL_BYTES, Body, Room
from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.kernel.mongo import Database
from support.agents import open_job
from support.processes import Service, free_port, service

MODEL = "claude-sonnet-5-5"
ANSWER = orjson.dumps({"type": "message", "usage": {"input_tokens": 7, "output_tokens": 5}})
# One character beyond the others makes Python hold all of them in four bytes each.
_TEXT = b'{"model":"%s","max_tokens":9,"messages":["%s\xf0\x9f\x98\x80"]}'
LARGEST = _TEXT % (MODEL.encode(), b"x" * (BODY_BYTES - 100))
SMALL = _TEXT % (MODEL.encode(), b"x")
FLOOD = 8


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    left = int(length.split(b":")[1])
    while left:
        left -= len(await reader.read(left))
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
    await writer.drain()
    writer.close()


@pytest.fixture
async def running(
    database_environment: dict[str, str], db: Database, tmp_path: Path
) -> AsyncIterator[tuple[str, Service]]:
    """A gateway and its address."""
    del db
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        port = free_port()
        environment = {
            **database_environment,
            "LLM_GATEWAY_PORT": str(port),
            "CLAUDE_API_URL": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "ANTHROPIC_API_KEY": "k",
        }
        async with service("llm-gateway", environment, tmp_path / "gateway.log") as process:
            yield f"http://127.0.0.1:{port}/v1/messages", process


async def post(url: str, token: str, content: bytes) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        response = await client.post(url, content=content, headers={"authorization": f"Bearer {token}"})
    if response.status_code in {429, 503}:
        assert response.headers["x-should-retry"] == "true"
    return response.status_code


async def test_many_of_the_largest_bodies_do_not_fill_the_memory_nor_keep_others_out(
    running: tuple[str, Service], db: Database
) -> None:
    url, process = running
    tokens = [(await open_job(db))[1] for _ in range(3)]
    flood = asyncio.gather(*(post(url, token, LARGEST) for token in tokens[:2] for _ in range(FLOOD)))
    assert [await post(url, tokens[2], SMALL) for _ in range(20)] == [200] * 20
    statuses = set(await flood)
    assert 200 in statuses
    assert statuses <= {200, 429, 503}
    assert process.peak_megabytes() < 400
    assert [await post(url, token, LARGEST) for token in tokens] == [200] * 3


async def test_a_body_without_a_jobs_token_is_not_kept(running: tuple[str, Service], db: Database) -> None:
    url, process = running
    _, token = await open_job(db)
    assert await post(url, token, SMALL) == 200
    before = process.peak_megabytes()
    assert set(await asyncio.gather(*(post(url, "wrong", LARGEST) for _ in range(FLOOD)))) == {401}
    assert process.peak_megabytes() < before + 40


def test_a_job_has_half_of_the_room_and_small_bodies_need_none() -> None:
    room = Room()
    room.take("a", BODY_BYTES - SMALL_BYTES)
    with pytest.raises(GatewayError, match="the job has too many large requests") as caught:
        room.take("a", BODY_BYTES - SMALL_BYTES)
    assert caught.value.status == 429
    room.take("b", BODY_BYTES - SMALL_BYTES)
    with pytest.raises(GatewayError, match="too many large requests are under way") as caught:
        room.take("c", BODY_BYTES - SMALL_BYTES)
    assert (caught.value.status, caught.value.retry_after) == (503, 2)
    room.give_back("a", BODY_BYTES - SMALL_BYTES)
    room.take("c", BODY_BYTES - SMALL_BYTES)


async def test_a_body_is_gone_once_it_has_gone_out() -> None:
    body = Body(Room(), "a")
    body.content, body.size = bytearray(b"x" * SMALL_BYTES), SMALL_BYTES
    assert b"".join([piece async for piece in body]) == b"x" * SMALL_BYTES
    assert body.sent
    assert body.content == b""
