"""GET /api/developments/{id}/transcript/stream: a transcript as it grows."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from bson import ObjectId
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from sdlc_agents.configuration.app import create_app
from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.developments import streaming
from sdlc_agents.developments.model import Outcome, Status
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.serving import serve
from sdlc_agents.webhooks.repository import WebhookRepository
from support.apikeys import MakeKey
from support.waiting import until
from support.webhook_service import event

DONE = Outcome(status=Status.COMPLETED, kind="pull_request", pr_mr_url="https://git.example/1")
Frame = dict[str, str]


@pytest.fixture
def app(db: Database, cipher: FieldCipher, registry: CollectorRegistry) -> FastAPI:
    return create_app(db, cipher, registry)


@pytest.fixture
async def http(app: FastAPI, make_key: MakeKey) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a key that may read, over a real connection."""
    headers = {"X-API-Key": await make_key("read")}
    async with (
        serve(app, port=0, host="127.0.0.1", graceful_seconds=5) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=15, headers=headers) as client,
    ):
        yield client


def streams(app: FastAPI) -> streaming.TranscriptStreams:
    found: streaming.TranscriptStreams = app.state.developments.streams
    return found


async def queued(db: Database) -> str:
    made = event()
    await WebhookRepository(db, "tests").queue_developments([made])
    return made.development_id


def consumer(db: Database) -> ClaimRepository:
    return ClaimRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)


async def claimed(db: Database, development_id: str) -> Claim:
    claim = await consumer(db).claim(development_id)
    assert claim is not None
    return claim


async def tell(db: Database, development_id: str, *texts: str) -> list[str]:
    """Store messages of the agent; their ids."""
    ids = [ObjectId() for _ in texts]
    about = {"development_id": development_id, "job_id": "j", "attempt_fence": 1, "seq": 0, "type": "message"}
    moment = now()
    documents = [
        {"_id": number, **about, "at": moment, "text": text, "stored_at": moment}
        for number, text in zip(ids, texts, strict=True)
    ]
    await db["agent_events"].insert_many(documents)
    return [str(number) for number in ids]


async def frames(response: httpx.Response) -> AsyncIterator[Frame]:
    """What comes, comments too (under the name `comment`), as it comes."""
    frame: Frame = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            frame[name or "comment"] = value
        elif frame:
            yield frame
            frame = {}


@asynccontextmanager
async def opened(http: httpx.AsyncClient, development_id: str, **headers: str) -> AsyncIterator[AsyncIterator[Frame]]:
    path = f"/api/developments/{development_id}/transcript/stream"
    async with http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["Content-Type"] == "text/event-stream"
        coming = frames(response)
        assert await anext(coming) == {"retry": "2000"}
        yield coming


def text(frame: Frame) -> str:
    return str(json.loads(frame["data"])["text"])


async def test_events_come_as_they_are_stored_and_the_end_last(http: httpx.AsyncClient, db: Database) -> None:
    development_id = await queued(db)
    async with opened(http, development_id) as coming:
        claim = await claimed(db, development_id)
        for word in ("one", "two"):
            (number,) = await tell(db, development_id, word)
            async with asyncio.timeout(2):
                frame = await anext(coming)
            assert (frame["id"], text(frame)) == (number, word)
        await tell(db, development_id, "three")
        await consumer(db).finish(claim, DONE, [])
        assert text(await anext(coming)) == "three"
        assert await anext(coming) == {"event": "end", "data": '{"status":"completed"}'}
        assert [frame async for frame in coming] == [], "the stream goes on after its end"


async def test_an_ended_developments_stream_is_all_of_it_in_the_form_of_the_document(
    api: httpx.AsyncClient, db: Database
) -> None:
    development_id = await queued(db)
    claim = await claimed(db, development_id)
    await tell(db, development_id, *(str(number) for number in range(450)))
    await consumer(db).finish(claim, DONE, [])
    answer = await api.get(f"/api/developments/{development_id}/transcript/stream")
    told = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(line[6:]).get("text") for line in told] == [*map(str, range(450)), None]
    event_fields = set(json.loads(told[0][6:]))
    assert not {"stored_at", "attempt_fence", "development_id"} & event_fields


async def test_whoever_comes_back_goes_on_after_the_last_event(http: httpx.AsyncClient, db: Database) -> None:
    development_id = await queued(db)
    claim = await claimed(db, development_id)
    ids = await tell(db, development_id, "one", "two", "three")
    await consumer(db).finish(claim, DONE, [])
    async with opened(http, development_id, **{"Last-Event-ID": ids[1]}) as coming:
        assert text(await anext(coming)) == "three"
        assert (await anext(coming))["event"] == "end"


@pytest.mark.parametrize("given", ["", "x", "0" * 25, "../../etc"])
async def test_an_id_of_another_kind_is_refused(api: httpx.AsyncClient, db: Database, given: str) -> None:
    path = f"/api/developments/{await queued(db)}/transcript/stream"
    answer = await api.get(path, headers={"Last-Event-ID": given})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Last-Event-ID: ")


async def test_a_stream_wants_a_key_and_a_development(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database
) -> None:
    path = f"/api/developments/{await queued(db)}/transcript/stream"
    assert (await anonymous.get(path)).status_code == 401
    anonymous.headers["X-API-Key"] = await make_key("read")
    assert (await anonymous.get(f"/api/developments/{'0' * 24}/transcript/stream")).status_code == 404


async def test_a_silent_stream_shows_that_it_lives(
    http: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_HEARTBEAT_SECONDS", 0.1)
    async with opened(http, await queued(db)) as coming:
        assert await anext(coming) == {"comment": "still here"}


async def test_there_is_room_for_so_many_streams_and_again_when_one_is_left(
    http: httpx.AsyncClient, app: FastAPI, db: Database
) -> None:
    app.state.developments.streams = streaming.TranscriptStreams(limit=1)
    development_id = await queued(db)
    path = f"/api/developments/{development_id}/transcript/stream"
    async with opened(http, development_id):
        refused = await http.get(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
        assert "no room for another" in refused.json()["error"]

    async def left() -> bool:
        return streams(app).open == 0

    await until(left, 5)
    async with opened(http, development_id):
        assert streams(app).open == 1


async def test_streams_end_when_the_service_stops(http: httpx.AsyncClient, app: FastAPI, db: Database) -> None:
    async with opened(http, await queued(db)) as coming:
        streams(app).close()
        async with asyncio.timeout(2):
            assert [frame async for frame in coming] == [], "a stop is not the development's end"


async def test_a_stream_ends_after_a_while_so_that_its_key_is_asked_for_again(
    http: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_LONGEST_SECONDS", 0.5)
    async with opened(http, await queued(db)) as coming, asyncio.timeout(5):
        assert [frame async for frame in coming] == []


async def test_a_retried_developments_stream_has_the_events_of_all_attempts(
    http: httpx.AsyncClient, db: Database
) -> None:
    development_id = await queued(db)
    failed = Outcome(status=Status.FAILED, kind="no_change", error_message="nothing was changed")
    claim = await claimed(db, development_id)
    await tell(db, development_id, "first attempt")
    await consumer(db).finish(claim, failed, [])
    await db["developments"].update_one({"_id": development_id}, {"$set": {"status": "queued"}})
    async with opened(http, development_id) as coming:
        assert text(await anext(coming)) == "first attempt"
        again = await claimed(db, development_id)
        await tell(db, development_id, "second attempt")
        await consumer(db).finish(again, DONE, [])
        assert text(await anext(coming)) == "second attempt"
        assert (await anext(coming))["data"] == '{"status":"completed"}'
