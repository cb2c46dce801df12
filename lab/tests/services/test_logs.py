from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.services.https import Answer
from lab.services.httpserver import Server
from lab.services.logs import bulk, server
from services.client import Client

PASSWORD, API_KEY = "a-password", "an-id:a-key"
INDEX = "sdlc-agent-2026.11.23"
NDJSON = "application/x-ndjson"


def _basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


AUTH = _basic("filebeat", PASSWORD)


@pytest.fixture
def client(serve: Callable[[Server], Client]) -> Client:
    return serve(server.build(PASSWORD, API_KEY))


def event(message: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"@timestamp": "2026-11-23T12:00:00.000Z", "message": message, **fields}


def lines(*documents: object) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def send(client: Client, content: bytes, path: str = "/_bulk", kind: str = NDJSON) -> Answer:
    return client.call("POST", path, content, {**AUTH, "content-type": kind})


def found(client: Client, text: str) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = client.call("GET", f"/_lab/search?contains={text}", headers=AUTH).json()["hits"]
    return hits


def test_an_event_that_was_sent_is_found(client: Client) -> None:
    answer = send(
        client, lines({"create": {"_index": INDEX}}, event("first"), {"create": {"_index": INDEX}}, event("x"))
    )
    assert (answer.status, answer.json()["errors"]) == (200, False)
    assert [item["create"]["status"] for item in answer.json()["items"]] == [201, 201]
    (hit,) = found(client, "first")
    assert (hit["_index"], hit["_source"]) == (INDEX, event("first"))


def test_the_index_may_stand_in_the_address(client: Client) -> None:
    assert send(client, lines({"create": {}}, event("addressed")), f"/{INDEX}/_bulk").status == 200
    assert len(found(client, "addressed")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        _basic("filebeat", "wrong"),
        _basic("elastic", PASSWORD),
        {"authorization": "Basic not-base64!"},
        {"authorization": f"ApiKey {API_KEY}"},
        {"authorization": "Bearer " + base64.b64encode(API_KEY.encode()).decode()},
    ],
)
@pytest.mark.parametrize("path", ["/", "/_bulk", "/_lab/search?contains=a"])
def test_wrong_credentials_open_nothing(client: Client, headers: dict[str, str], path: str) -> None:
    assert client.call("GET", path, headers=headers).status == 401


def test_an_api_key_opens_it(client: Client) -> None:
    key = base64.b64encode(API_KEY.encode()).decode()
    assert client.call("GET", "/", headers={"authorization": f"ApiKey {key}"}).status == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        lines({"create": {"_index": INDEX}}, event())[:-1],
        lines({"create": {"_index": INDEX}}),
        lines(event(), event()),
        lines({"delete": {"_index": INDEX, "_id": "1"}}, event()),
        lines({"update": {"_index": INDEX, "_id": "1"}}, event()),
        lines({"create": {"_index": INDEX, "_type": "_doc"}}, event()),
        lines({"create": {"_index": INDEX}, "index": {}}, event()),
        lines({"create": {"_index": INDEX, "_id": 1}}, event()),
        lines({"create": {}}, event()),
        lines({"create": {"_index": "filebeat-8.19.0"}}, event()),
        lines({"create": {"_index": "sdlc-agent-2026.02.30"}}, event()),
        lines({"create": {"_index": "sdlc-agent-2026.11.23-x"}}, event()),
        lines({"create": {"_index": INDEX}}, {"message": "no time"}),
        lines({"create": {"_index": INDEX}}, event(**{"@timestamp": "yesterday"})),
        lines({"create": {"_index": INDEX}}, event(**{"@timestamp": "2026-11-23T12:00:00"})),
        b'{"create":{"_index":"' + INDEX.encode() + b'"}}\n{"@timestamp":\n',
        lines({"create": {"_index": INDEX}}, ["a list"]),
    ],
)
def test_a_wrong_line_refuses_the_whole_request(client: Client, content: bytes) -> None:
    good = lines({"create": {"_index": INDEX}}, event("innocent"))
    assert send(client, good + content if content else content).status == 400
    assert found(client, "innocent") == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(client: Client, kind: str) -> None:
    assert send(client, lines({"create": {"_index": INDEX}}, event()), kind=kind).status == 406


def test_a_known_id_is_a_conflict_and_is_kept_once(client: Client) -> None:
    content = lines({"create": {"_index": INDEX, "_id": "one"}}, event("only-once"))
    assert send(client, content).json()["errors"] is False
    again = send(client, content).json()
    assert (again["errors"], again["items"][0]["create"]["status"]) == (True, 409)
    assert len(found(client, "only-once")) == 1


def test_what_filebeat_asks_at_its_start_is_answered(client: Client) -> None:
    about = client.call("GET", "/", headers=AUTH)
    assert about.headers["x-elastic-product"] == "Elasticsearch"
    assert about.json()["version"]["number"].startswith("8.")
    assert client.call("GET", "/_license", headers=AUTH).json()["license"]["status"] == "active"


def test_what_its_setup_wrote_can_be_read_again(client: Client) -> None:
    path = "/_ilm/policy/sdlc-agent"
    assert client.call("HEAD", path, headers=AUTH).status == 404
    assert client.call("PUT", path, {"policy": {}}, AUTH).json() == {"acknowledged": True}
    assert client.call("GET", path, headers=AUTH).json() == {"sdlc-agent": {"policy": {}}}
    assert client.call("DELETE", path, headers=AUTH).status == 405


def test_an_address_that_the_stand_in_lacks_is_a_404(client: Client) -> None:
    assert client.call("GET", f"/{INDEX}/_search", headers=AUTH).status == 404
    assert client.call("POST", "/", {}, AUTH).status == 404


def test_a_search_finds_text_with_quotes_and_wants_some_text(client: Client) -> None:
    send(client, lines({"create": {"_index": INDEX}}, event('say "ü"')))
    assert len(found(client, "say%20%22%C3%BC%22")) == 1
    assert client.call("GET", "/_lab/search", headers=AUTH).status == 400
    assert client.call("GET", "/_lab/search?contains=a&limit=0", headers=AUTH).status == 400


def test_events_can_be_forgotten(client: Client) -> None:
    send(client, lines({"create": {"_index": INDEX}}, event("gone")))
    assert client.call("DELETE", "/_lab/events", headers=AUTH).status == 204
    assert client.call("GET", "/_lab/stats", headers=AUTH).json() == {"stored": 0, "dropped": 0, "received": {}}


def test_the_store_keeps_the_newest_events_within_its_limit() -> None:
    store = server.Store(limit=10_000)
    for number in range(1000):
        item = bulk.Item("create", INDEX, f"id-{number}", event(f"number-{number}."))
        assert store.add(item) == (201, f"id-{number}")
    assert len(store) < 200
    assert store.dropped == 1000 - len(store)
    assert store.search("number-0.", None, 10) == []
    assert len(store.search("number-999.", INDEX, 10)) == 1
    assert store.add(bulk.Item("create", INDEX, "id-0", event()))[0] == 201
