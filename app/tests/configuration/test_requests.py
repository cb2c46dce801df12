"""How requests are counted, logged and refused, whatever they ask for."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sdlc_agents.configuration.app import create_app
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.serving import serve
from support.apikeys import MakeKey
from support.backends import EveryService, MakeSettings
from support.conformance import Conformance
from support.projects import project
from support.proxy import CuttableProxy

BY_ID = "/api/projects/{project_id}"


@pytest.mark.parametrize(
    ("key", "method", "path", "status", "endpoint"),
    [
        (None, "GET", "/api/projects/17", 401, BY_ID),
        (None, "DELETE", "/api/repositories/x?project_id=1", 401, "/api/repositories/{repository_id}"),
        (None, "GET", "/api/nowhere", 401, "unmatched"),
        (None, "GET", "/openapi.json", 401, "/openapi.json"),
        ("unknown", "GET", "/api/webhook-events", 403, "/api/webhook-events"),
        ("read", "PUT", "/api/projects/17", 403, BY_ID),
        ("write", "GET", "/api/audit-log", 403, "/api/audit-log"),
    ],
)
async def test_a_refused_request_is_counted_and_logged_by_its_routes_template(
    anonymous: httpx.AsyncClient,
    make_key: MakeKey,
    registry: CollectorRegistry,
    key: str | None,
    method: str,
    path: str,
    status: int,
    endpoint: str,
) -> None:
    headers = {} if key is None else {"X-API-Key": "no such key" if key == "unknown" else await make_key(key)}
    with capture_logs() as logs:
        response = await anonymous.request(method, path, headers=headers)
    assert response.status_code == status
    labels = {"method": method, "endpoint": endpoint, "status": str(status)}
    assert registry.get_sample_value("http_requests_total", labels) == 1
    (entry,) = [entry for entry in logs if entry["event"] == "request_refused"]
    assert {name: entry[name] for name in labels} == {**labels, "status": status}
    assert entry["address"] == "127.0.0.1"
    assert not any(value and value in str(logs) for value in headers.values())


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/api/projects", "GET, POST"),
        ("POST", "/api/projects/17", "DELETE, GET, PUT"),
        ("PUT", "/api/webhook-events", "GET"),
        ("POST", "/health", "GET"),
    ],
)
async def test_a_method_that_a_path_does_not_know_is_answered_with_those_it_knows(
    api: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await api.request(method, path)
    assert (response.status_code, response.json()) == (405, {"error": "method not allowed"})
    assert response.headers["Allow"] == allowed


@pytest.mark.parametrize("path", ["/api/nowhere", "/api/projects/", "/api/projects/1/2/3", "/docs", "/"])
async def test_a_path_that_is_not_there_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)
    assert (response.status_code, response.json()) == (404, {"error": "not found"})


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"name": ' * 50_000, b'{"name": "\\ud800"}', b'{"name": 1e400}'])
async def test_a_body_that_is_hard_to_read_is_a_bad_request(api: httpx.AsyncClient, body: bytes) -> None:
    response = await api.post("/api/projects", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, set(response.json())) == (400, {"error"})


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
async def test_a_body_of_another_kind_is_a_bad_request(api: httpx.AsyncClient, content_type: str) -> None:
    response = await api.post("/api/projects", content=b"{}", headers={"Content-Type": content_type})
    assert (response.status_code, set(response.json())) == (400, {"error"})


async def in_parts(size: int) -> AsyncIterator[bytes]:
    """A body without a Content-Length."""
    for _ in range(size // 10_000):
        yield b" " * 10_000


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_that_is_too_large_is_said_to_be(api: httpx.AsyncClient, declared: bool) -> None:  # noqa: FBT001
    with capture_logs() as logs:
        response = await api.post(
            "/api/projects",
            content=b" " * 1_100_000 if declared else in_parts(1_100_000),
            headers={"Content-Type": "application/json"},
        )
    assert (response.status_code, response.json()) == (413, {"error": "the body is larger than 1048576 bytes"})
    assert [entry["event"] for entry in logs] == []


async def test_without_its_database_the_api_says_when_to_come_back(
    make_settings: MakeSettings,
    mongo_proxy: CuttableProxy,
    cipher: FieldCipher,
    make_key: MakeKey,
    registry: CollectorRegistry,
    conformance: Conformance,
) -> None:
    settings = make_settings(EveryService, mongo_url=mongo_proxy.url)
    headers = {"X-API-Key": await make_key("admin")}
    async with mongo.connect(settings, application="tests", timeoutMS=1500) as client:
        app = create_app(mongo.database(client, settings), cipher, registry)
        async with (
            serve(app, port=0, host="127.0.0.1", graceful_seconds=1) as port,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers=headers,
                timeout=20,
                event_hooks={"response": [conformance]},
            ) as http,
        ):
            assert (await http.get("/api/projects")).status_code == 200
            await mongo_proxy.cut()
            for method, path in (("GET", "/api/projects"), ("POST", "/api/projects"), ("GET", "/api/audit-log")):
                response = await http.request(method, path, json=project() if method == "POST" else None)
                assert (response.status_code, response.json()) == (503, {"error": "the database is not available"})
                assert response.headers["Retry-After"] == "5"
            await mongo_proxy.mend()
            assert (await http.post("/api/projects", json=project())).status_code == 201
