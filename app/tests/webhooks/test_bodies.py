"""Bodies that are too large, too deep, too slow or broken off end in a clear 4xx; too many at once in a 503."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks import bodies
from sdlc_agents.webhooks.signature import sign
from support.deliveries import fixture, ticket
from support.waiting import until
from support.webhook_service import SECRET, Service


@asynccontextmanager
async def connection(service: Service) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(service.http.base_url.host, service.http.base_url.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


def head(length: int, body: bytes = b"") -> bytes:
    lines = ["POST /webhook HTTP/1.1", "Host: localhost", f"Content-Length: {length}"]
    if body:
        lines.append(f"X-Hub-Signature: {sign(body, SECRET)}")
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(headers.split("content-length: ")[1].split("\r\n")[0])
    return int(headers.split()[1]), orjson.loads(await reader.readexactly(length))


async def stored(db: Database) -> int:
    return await db["webhook_events"].count_documents({})


async def test_a_body_that_is_announced_too_large_is_not_waited_for(service: Service) -> None:
    async with connection(service) as (reader, writer):
        writer.write(head(bodies.MAX_BODY_BYTES + 1))
        assert await answer(reader) == (413, {"error": "the body is larger than 1048576 bytes"})


@pytest.mark.parametrize("length", ["9" * 30, "-1", "1 2", "x"])
async def test_an_absurd_length_is_refused(service: Service, length: str) -> None:
    async with connection(service) as (reader, writer):
        writer.write(head(1).replace(b"Content-Length: 1\r", f"Content-Length: {length}\r".encode()) + b"{")
        status = await reader.readuntil(b"\r\n")
    assert status.split()[1].startswith(b"4"), status


async def test_a_body_that_drips_is_a_timeout_after_a_while(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    async with connection(service) as (reader, writer):
        writer.write(head(100))

        async def drip() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await answer(reader) == (408, {"error": "the body did not arrive within 0.5 seconds"})
        dripping.cancel()


async def test_a_body_that_is_broken_off_is_a_bad_request_and_stores_nothing(
    service: Service, db: Database, project_key: str
) -> None:
    body = orjson.dumps(ticket(project_key))
    async with connection(service) as (_, writer):
        writer.write(head(len(body), body) + body[:-1])
        await writer.drain()

    async def counted() -> bool:
        return service.metric("http_requests_total", method="POST", endpoint="/webhook", status="400") == 1

    await until(counted)
    assert await stored(db) == 0


async def test_a_shortened_body_is_not_authentic(service: Service, db: Database, project_key: str) -> None:
    body = orjson.dumps(ticket(project_key))
    async with connection(service) as (reader, writer):
        writer.write(head(len(body) - 1, body) + body[:-1])
        assert (await answer(reader))[0] == 401
    assert await stored(db) == 0


async def test_a_signed_body_that_stops_short_is_a_bad_request(service: Service, project_key: str) -> None:
    response = await service.deliver(orjson.dumps(ticket(project_key))[:-1])
    assert (response.status_code, response.json()) == (400, {"error": "the body is not valid JSON"})


@pytest.mark.parametrize("levels", [1000, 5000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
async def test_a_body_of_a_thousand_levels_is_a_bad_request(
    service: Service, db: Database, levels: int, opening: bytes, closing: bytes
) -> None:
    inner = opening * levels + b"1" + closing * levels
    if len(inner) < bodies.MAX_BODY_BYTES // 2:
        payload = orjson.dumps(fixture("cloud_issue_updated")).removeprefix(b"{")
        inner = b'{"unknown":' + inner + b"," + payload
    response = await service.deliver(inner)
    expected = "the body is nested deeper than 500 levels"
    if len(inner) > bodies.MAX_BODY_BYTES:
        expected = "the body is larger than 1048576 bytes"
    assert response.status_code in {400, 413}
    assert response.json() == {"error": expected}
    assert await stored(db) == 0


async def test_past_the_bound_of_bytes_in_memory_the_next_is_told_to_come_back(
    service: Service, monkeypatch: pytest.MonkeyPatch, project_key: str
) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 300_000)
    payload = ticket(project_key)
    payload["padding"] = "x" * 60_000

    async def refused() -> bool:
        response = await service.deliver(payload)
        if response.status_code == 503:
            assert response.json() == {"error": "too many deliveries are waiting"}
            assert int(response.headers["Retry-After"]) > 0
        return response.status_code == 503

    async with connection(service) as (_, one), connection(service) as (_, two):
        for writer in (one, two):
            writer.write(head(1_000_000) + b" " * 140_000)
            await writer.drain()
        await until(refused)

    async def taken() -> bool:
        payload["timestamp"] += 1
        return (await service.deliver(payload)).status_code == 200

    await until(taken)


async def test_what_is_in_memory_is_counted_down_after_every_kind_of_answer(
    service: Service, monkeypatch: pytest.MonkeyPatch, project_key: str
) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 200_000)
    padding = "x" * 60_000
    for number in range(10):
        accepted = await service.deliver(ticket(project_key, number) | {"padding": padding})
        ignored = await service.deliver(fixture("cloud_issue_deleted") | {"padding": padding})
        broken = await service.deliver(b"{" + b" " * 60_000)
        wrong = await service.deliver(fixture("cloud_issue_updated") | {"padding": padding}, secret=b"another")
        statuses = [response.status_code for response in (accepted, ignored, broken, wrong)]
        assert statuses == [200, 200, 400, 401]
