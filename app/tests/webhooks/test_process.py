"""The webhook API as a process: it stops in time with all that it accepted, and its memory stays bounded."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.bodies import MAX_BODY_BYTES
from sdlc_agents.webhooks.signature import sign
from support.backends import Backends, Broker
from support.deliveries import ticket
from support.proxy import CuttableProxy
from support.waiting import until
from support.webhook_process import WebhookProcess, webhook_process
from support.webhook_service import SECRET

STOP_SECONDS = 10.0
MEGABYTES = 400


@asynccontextmanager
async def started(
    backends: Backends, db: Database, tmp_path: Path, mongo: CuttableProxy, rabbitmq: CuttableProxy
) -> AsyncIterator[WebhookProcess]:
    proxied = replace(backends, mongo_url=mongo.url, rabbitmq_url=rabbitmq.url)
    async with webhook_process(proxied, db.name, tmp_path / "service.log") as running:
        yield running


@pytest.fixture
async def api(
    backends: Backends,
    db: Database,
    broker: Broker,
    tmp_path: Path,
    mongo_proxy: CuttableProxy,
    rabbitmq_proxy: CuttableProxy,
) -> AsyncIterator[WebhookProcess]:
    """A process that reaches its database and its broker through relays."""
    del broker
    async with started(backends, db, tmp_path, mongo_proxy, rabbitmq_proxy) as running:
        yield running


def request(payload: object) -> tuple[bytes, dict[str, str]]:
    body = orjson.dumps(payload)
    return body, {"X-Hub-Signature": sign(body, SECRET)}


async def deliver(api: WebhookProcess, payload: object) -> int:
    """The answer's status; 0 when the connection ended without one."""
    body, headers = request(payload)
    try:
        return (await api.http.post("/webhook", content=body, headers=headers)).status_code
    except httpx.TransportError:
        return 0


async def stop(api: WebhookProcess) -> tuple[int, float]:
    began = time.monotonic()
    api.process.terminate()
    return await api.process.ended(30), time.monotonic() - began


async def test_a_stop_under_load_leaves_nothing_accepted_behind(
    api: WebhookProcess, db: Database, broker: Broker, project_key: str
) -> None:
    accepted = 0
    numbers = iter(range(10**9))

    async def load() -> None:
        nonlocal accepted
        while (status := await deliver(api, ticket(project_key, next(numbers)))) == 200:
            accepted += 1
        assert status in {0, 503}

    async def loaded() -> bool:
        return accepted >= 100

    senders = [asyncio.create_task(load()) for _ in range(8)]
    await until(loaded)
    status, seconds = await stop(api)
    await asyncio.gather(*senders)
    assert status == 0
    assert seconds < STOP_SECONDS
    events = await db["webhook_events"].find({}, {"state": 1}).to_list()
    assert len(events) >= accepted
    assert {event["state"] for event in events} == {"published"}
    assert await db["developments"].count_documents({}) == len(events)
    found: set[str] = set()
    while len(found) < len(events):
        found.add(orjson.loads((await broker.next_message()).body)["development_id"])


async def test_a_delivery_that_waits_for_the_database_is_answered_before_the_end(
    api: WebhookProcess, db: Database, mongo_proxy: CuttableProxy, project_key: str
) -> None:
    mongo_proxy.freeze()
    waiting = asyncio.create_task(deliver(api, ticket(project_key)))
    await until(lambda: in_progress(api, waiting))
    ending = asyncio.create_task(stop(api))
    await until(lambda: refuses_connections(api))
    mongo_proxy.thaw()
    assert await waiting == 200
    assert (await ending)[0] == 0
    assert [event["jira_issue_key"] async for event in db["webhook_events"].find()] == [f"{project_key}-1"]


async def test_it_stops_in_time_when_clients_database_and_broker_hang(
    api: WebhookProcess, mongo_proxy: CuttableProxy, rabbitmq_proxy: CuttableProxy, project_key: str
) -> None:
    assert await deliver(api, ticket(project_key, 1)) == 200
    mongo_proxy.freeze()
    rabbitmq_proxy.freeze()
    waiting = asyncio.create_task(deliver(api, ticket(project_key, 2)))
    _, slow = await asyncio.open_connection(api.http.base_url.host, api.http.base_url.port)
    slow.write(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    await slow.drain()
    await until(lambda: in_progress(api, waiting))
    status, seconds = await stop(api)
    assert await waiting in {0, 500, 503}
    slow.close()
    with suppress(ConnectionError):
        await slow.wait_closed()
    assert status == 0
    assert seconds < STOP_SECONDS


async def test_memory_stays_bounded_when_large_deliveries_wait_for_the_database(
    api: WebhookProcess, db: Database, mongo_proxy: CuttableProxy, project_key: str
) -> None:
    large = padded(project_key)
    mongo_proxy.freeze()
    statuses = await asyncio.gather(*(deliver(api, large | {"timestamp": number}) for number in range(300)))
    assert set(statuses) <= {503, 0}
    assert statuses.count(503) >= 200
    assert api.process.resident_megabytes() < MEGABYTES
    mongo_proxy.thaw()
    await until(lambda: accepts(api, ticket(project_key, 2)), seconds=30)
    assert await db["webhook_events"].count_documents({"jira_issue_key": f"{project_key}-1"}) <= 64


async def test_memory_stays_bounded_when_large_deliveries_wait_for_the_broker(
    api: WebhookProcess, db: Database, rabbitmq_proxy: CuttableProxy, project_key: str
) -> None:
    large = padded(project_key)
    rabbitmq_proxy.freeze()
    for first in range(0, 300, 10):
        numbers = range(first, first + 10)
        statuses = await asyncio.gather(*(deliver(api, large | {"timestamp": number}) for number in numbers))
        assert statuses == [200] * 10
    assert api.process.resident_megabytes() < MEGABYTES
    rabbitmq_proxy.thaw()

    async def published() -> bool:
        return await db["webhook_events"].count_documents({"state": "published"}) == 300

    await until(published, seconds=40)
    assert api.process.resident_megabytes() < MEGABYTES


def padded(project_key: str) -> dict[str, object]:
    """A ticket of nearly the largest size, most of it in fields that the product does not read."""
    payload = ticket(project_key)
    return payload | {"padding": "x" * (MAX_BODY_BYTES - len(orjson.dumps(payload)) - 100)}


async def in_progress(api: WebhookProcess, waiting: "asyncio.Task[int]") -> bool:
    """Whether the request has been read and is not answered: another one on a connection of its own still is."""
    return not waiting.done() and (await api.http.get("/health")).status_code == 200


async def refuses_connections(api: WebhookProcess) -> bool:
    try:
        _, writer = await asyncio.open_connection(api.http.base_url.host, api.http.base_url.port)
    except ConnectionError:
        return True
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return False


async def accepts(api: WebhookProcess, payload: object) -> bool:
    return await deliver(api, payload) == 200
