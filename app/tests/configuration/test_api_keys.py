"""X-API-Key, and /api/api-keys."""

from datetime import timedelta

import bson
import httpx
import pytest
from prometheus_client import CollectorRegistry

from sdlc_agents.apikeys.keys import Scope, new_key
from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.clock import now
from sdlc_agents.mongo import Database
from support.projects import project

from .conftest import MakeKey

PATHS = ["/api/projects", "/api/developments/x", "/api/webhook-events", "/api/api-keys", "/api/nowhere"]


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_key_nothing_is_answered(anonymous: httpx.AsyncClient, path: str) -> None:
    response = await anonymous.get(path)
    assert (response.status_code, response.json()) == (401, {"error": "API key required"})


@pytest.mark.parametrize("key", [b"x", b"sdlc_" + b"A" * 43, b'{"$ne": null}', b"Gr\xfc\xdfe"])
async def test_an_unknown_key_is_forbidden(anonymous: httpx.AsyncClient, key: bytes) -> None:
    response = await anonymous.get("/api/projects", headers=[(b"X-API-Key", key)])
    assert (response.status_code, response.json()) == (403, {"error": "invalid API key"})


async def test_a_missing_key_is_said_before_a_broken_body(anonymous: httpx.AsyncClient) -> None:
    response = await anonymous.post("/api/projects", content=b"{", headers={"Content-Type": "application/json"})
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("scope", "statuses"), [("read", [200, 403, 403]), ("write", [200, 201, 403]), ("admin", [200, 201, 200])]
)
async def test_a_scope_reaches_as_far_as_it_says(
    anonymous: httpx.AsyncClient, make_key: MakeKey, scope: str, statuses: list[int]
) -> None:
    anonymous.headers["X-API-Key"] = await make_key(scope)
    answers = [
        await anonymous.get("/api/projects"),
        await anonymous.post("/api/projects", json=project()),
        await anonymous.get("/api/api-keys"),
    ]
    assert [answer.status_code for answer in answers] == statuses


async def test_a_key_is_shown_once_and_stored_as_its_hash(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database
) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    made = await anonymous.post("/api/api-keys", json={"name": "ci", "scopes": ["read"]})
    assert made.status_code == 201
    key = made.json()["key"]
    listed = await anonymous.get("/api/api-keys")
    assert key not in listed.text
    assert [entry["name"] for entry in listed.json()] == ["admin", "ci"]
    for name in await db.list_collection_names():
        async for document in db[name].find():
            assert key.encode() not in bson.encode(document)
    assert (await anonymous.get("/api/projects", headers={"X-API-Key": key})).status_code == 200


async def test_a_revoked_key_is_forbidden_from_then_on(anonymous: httpx.AsyncClient, make_key: MakeKey) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    made = (await anonymous.post("/api/api-keys", json={"name": "ci", "scopes": ["read"]})).json()
    assert (await anonymous.delete(f"/api/api-keys/{made['id']}")).status_code == 204
    assert (await anonymous.get("/api/projects", headers={"X-API-Key": made["key"]})).status_code == 403
    assert (await anonymous.delete(f"/api/api-keys/{made['id']}")).status_code == 404


async def test_an_expired_key_is_forbidden(anonymous: httpx.AsyncClient, db: Database) -> None:
    key = new_key()
    await ApiKeyRepository(db).add(key, "old", [Scope.READ], now() - timedelta(seconds=1))
    assert (await anonymous.get("/api/projects", headers={"X-API-Key": key})).status_code == 403


async def test_when_a_key_was_last_used_is_kept(anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database) -> None:
    await anonymous.get("/api/projects", headers={"X-API-Key": await make_key("read")})
    document = await db["api_keys"].find_one()
    assert document is not None
    assert now() - document["last_used_at"] < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": "x", "scopes": []}, "scopes: "),
        ({"name": "x", "scopes": ["root"]}, "scopes."),
        ({"name": "", "scopes": ["read"]}, "name: "),
        ({"name": "x", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, "expires_at: "),
    ],
)
async def test_a_wrong_field_is_named(
    anonymous: httpx.AsyncClient, make_key: MakeKey, body: dict[str, object], named: str
) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    response = await anonymous.post("/api/api-keys", json=body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(named)


async def test_making_and_revoking_keys_is_in_the_audit_log(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database
) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    made = (await anonymous.post("/api/api-keys", json={"name": "ci", "scopes": ["read"]})).json()
    await anonymous.delete(f"/api/api-keys/{made['id']}")
    actions = [entry["action"] async for entry in db["audit_log"].find({"entity_id": made["id"]}).sort("_id", 1)]
    assert actions == ["api_key.created", "api_key.revoked"]


async def test_the_bootstrap_key_is_replaced_by_the_next_one(anonymous: httpx.AsyncClient, db: Database) -> None:
    repository = ApiKeyRepository(db)
    assert await repository.set_bootstrap_key("the operator's first key")
    assert not await repository.set_bootstrap_key("the operator's first key")
    assert await repository.set_bootstrap_key("the operator's second key")
    first = await anonymous.get("/api/api-keys", headers={"X-API-Key": "the operator's first key"})
    second = await anonymous.get("/api/api-keys", headers={"X-API-Key": "the operator's second key"})
    assert (first.status_code, second.status_code) == (403, 200)


async def test_health_needs_no_key_and_requests_are_counted(
    anonymous: httpx.AsyncClient, make_key: MakeKey, registry: CollectorRegistry
) -> None:
    assert (await anonymous.get("/health")).json()["status"] == "healthy"
    await anonymous.get("/api/projects/17", headers={"X-API-Key": await make_key("read")})
    labels = {"method": "GET", "endpoint": "/api/projects/{project_id}", "status": "404"}
    assert registry.get_sample_value("http_requests_total", labels) == 1
