"""X-API-Key, and /api/api-keys."""

import asyncio
from datetime import datetime, timedelta

import bson
import httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry

from sdlc_agents.apikeys import usage
from sdlc_agents.apikeys.keys import new_key
from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.apikeys.service import ApiKeyService
from sdlc_agents.apikeys.usage import LastUsed
from sdlc_agents.kernel.callers import Caller, Scope
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ConflictError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.migrations import schema
from support.apikeys import MakeKey
from support.projects import project
from support.waiting import until

OPERATOR = Caller("operator", "tests", frozenset(Scope), "")

PATHS = [
    "/openapi.json",
    "/api/audit-log",
    "/api/projects",
    "/api/developments/x",
    "/api/webhook-events",
    "/api/api-keys",
    "/api/nowhere",
]


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
    lacking = [answer.json()["error"].rpartition(" ")[2] for answer in answers if answer.status_code == 403]
    assert lacking == {"read": ["write", "admin"], "write": ["admin"], "admin": []}[scope]


async def test_a_key_is_shown_once_and_stored_as_its_hash(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database
) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    made = await anonymous.post("/api/api-keys", json={"name": "ci", "scopes": ["read"]})
    assert made.status_code == 201
    key = made.json()["key"]
    listed = await anonymous.get("/api/api-keys")
    assert key not in listed.text
    assert [entry["name"] for entry in listed.json()["items"]] == ["ci", "admin"]
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


async def test_the_list_of_keys_is_paged_newest_first(anonymous: httpx.AsyncClient, make_key: MakeKey) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    await make_key("read")
    await make_key("write")
    first = (await anonymous.get("/api/api-keys", params={"limit": 2})).json()
    second = (await anonymous.get("/api/api-keys", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [key["name"] for key in first["items"] + second["items"]] == ["write", "read", "admin"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": "x", "scopes": []}, "scopes: "),
        ({"name": "x", "scopes": ["root"]}, "scopes."),
        ({"name": "", "scopes": ["read"]}, "name: "),
        ({"name": "x", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, "expires_at: "),
        ({"name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "expires_at: must be in the future"),
        ({"name": "a\nb", "scopes": ["read"]}, "name: must be one line"),
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
    service = ApiKeyService(db)
    assert await service.set_bootstrap_key("the operator's first key", OPERATOR)
    assert not await service.set_bootstrap_key("the operator's first key", OPERATOR)
    assert await service.set_bootstrap_key("the operator's second key", OPERATOR)
    first = await anonymous.get("/api/api-keys", headers={"X-API-Key": "the operator's first key"})
    second = await anonymous.get("/api/api-keys", headers={"X-API-Key": "the operator's second key"})
    assert (first.status_code, second.status_code) == (403, 200)
    assert await db["audit_log"].count_documents({"action": "api_key.bootstrapped"}) == 2


async def test_the_last_valid_admin_key_cannot_be_revoked(anonymous: httpx.AsyncClient, make_key: MakeKey) -> None:
    anonymous.headers["X-API-Key"] = await make_key("admin")
    body = {"name": "second", "scopes": ["admin"]}
    second = (await anonymous.post("/api/api-keys", json=body)).json()
    (first,) = [key for key in (await anonymous.get("/api/api-keys")).json()["items"] if key["name"] == "admin"]
    assert (await anonymous.delete(f"/api/api-keys/{second['id']}")).status_code == 204
    refused = await anonymous.delete(f"/api/api-keys/{first['id']}")
    assert refused.status_code == 409
    assert "last valid API key" in refused.json()["error"]
    assert (await anonymous.get("/api/api-keys")).status_code == 200


async def test_an_expired_admin_key_is_nothing_to_rely_on(db: Database) -> None:
    service, repository = ApiKeyService(db), ApiKeyRepository(db)
    expired = await repository.add(new_key(), "expired", [Scope.ADMIN], now() - timedelta(seconds=1))
    last = await repository.add(new_key(), "last", [Scope.ADMIN], now() + timedelta(days=1))
    with pytest.raises(ConflictError):
        await service.revoke(last["_id"], OPERATOR)
    await service.revoke(expired["_id"], OPERATOR)


async def test_of_two_who_revoke_the_last_two_admin_keys_at_once_one_is_refused(db: Database) -> None:
    service, repository = ApiKeyService(db), ApiKeyRepository(db)
    for _ in range(5):
        await db["api_keys"].delete_many({})
        keys = [await repository.add(new_key(), name, [Scope.ADMIN], None) for name in ("a", "b")]
        answers = await asyncio.gather(*(service.revoke(key["_id"], OPERATOR) for key in keys), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["ConflictError", "NoneType"]
        assert await db["api_keys"].count_documents({"revoked_at": None}) == 1


async def last_used(db: Database) -> datetime | None:
    document = await db["api_keys"].find_one()
    assert document is not None
    found: datetime | None = document["last_used_at"]
    return found


async def test_when_a_key_was_last_used_is_kept_to_the_minute(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"X-API-Key": await make_key("read")}
    await asyncio.gather(*(anonymous.get("/api/projects", headers=headers) for _ in range(5)))

    async def noted() -> bool:
        return await last_used(db) is not None

    await until(noted)
    first = await last_used(db)
    assert first is not None
    assert now() - first < timedelta(minutes=1)
    monkeypatch.setattr(usage, "now", lambda: first + timedelta(seconds=59))
    await anonymous.get("/api/projects", headers=headers)
    assert await last_used(db) == first

    monkeypatch.setattr(usage, "now", lambda: first + timedelta(seconds=61))
    await anonymous.get("/api/projects", headers=headers)

    async def noted_again() -> bool:
        return await last_used(db) == first + timedelta(seconds=61)

    await until(noted_again)


async def test_no_request_waits_for_the_note_of_its_keys_use(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database
) -> None:
    headers = {"X-API-Key": await make_key("read")}
    async with db.client.start_session() as session:
        await session.start_transaction()
        # Whoever writes to this key now waits for the transaction.
        await db["api_keys"].update_one({}, {"$set": {"relied_on_at": now()}}, session=session)
        response = await anonymous.get("/api/projects", headers=headers)
        assert response.status_code == 200
        assert await last_used(db) is None
        await session.abort_transaction()

    async def noted() -> bool:
        return await last_used(db) is not None

    await until(noted)


async def test_a_use_that_cannot_be_noted_is_no_error(db: Database) -> None:
    document = await ApiKeyRepository(db).add(new_key(), "x", [Scope.READ], None)
    await db.command("collMod", "api_keys", validator={"impossible": True})
    notes = LastUsed(ApiKeyRepository(db))
    try:
        with structlog.testing.capture_logs() as logs:
            notes.note(document)

            async def failed() -> bool:
                return "last_use_not_noted" in {entry["event"] for entry in logs}

            await until(failed)
    finally:
        await schema.migrate(db)


async def test_health_needs_no_key_and_requests_are_counted(
    anonymous: httpx.AsyncClient, make_key: MakeKey, registry: CollectorRegistry
) -> None:
    assert (await anonymous.get("/health")).json()["status"] == "healthy"
    await anonymous.get("/api/projects/17", headers={"X-API-Key": await make_key("read")})
    labels = {"method": "GET", "endpoint": "/api/projects/{project_id}", "status": "404"}
    assert registry.get_sample_value("http_requests_total", labels) == 1
