"""GET /api/audit-log, and what may stand in it."""

from typing import Any

import bson
import httpx
import pytest

from sdlc_agents.kernel.mongo import Database
from support.apikeys import MakeKey
from support.projects import TOKEN, project, repository

NEW_TOKEN = "glpat-zyxwvutsrqponmlk9876"


@pytest.fixture
async def admin(anonymous: httpx.AsyncClient, make_key: MakeKey) -> httpx.AsyncClient:
    """The API with a key of scope `admin`."""
    anonymous.headers["X-API-Key"] = await make_key("admin")
    return anonymous


async def change_everything(admin: httpx.AsyncClient) -> tuple[str, str]:
    """Every change that the API knows, each once; the project's id, and the API key that was shown."""
    made = (await admin.post("/api/projects", json=project())).json()
    path = f"/api/projects/{made['id']}"
    second = repository(repository_id="second", git_access_token=NEW_TOKEN)
    answers = [
        await admin.put(path, json={**made, "name": "Renamed"}),
        await admin.post(f"{path}/repositories", json=second),
        await admin.put(f"/api/repositories/second?project_id={made['id']}", json={**second, "description": "2"}),
        await admin.delete(f"/api/repositories/second?project_id={made['id']}"),
        await admin.delete(path),
        key := await admin.post("/api/api-keys", json={"name": "ci", "scopes": ["read"]}),
        await admin.delete(f"/api/api-keys/{key.json()['id']}"),
    ]
    assert [answer.status_code for answer in answers] == [200, 201, 200, 204, 204, 201, 204]
    return made["id"], key.json()["key"]


async def listed(admin: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    response = await admin.get("/api/audit-log", params=filters)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def test_every_change_is_shown_newest_first_with_who_and_from_where(admin: httpx.AsyncClient) -> None:
    project_id, _ = await change_everything(admin)
    entries = await listed(admin, entity_id=project_id)
    assert [entry["action"] for entry in entries] == [
        "project.deleted",
        "repository.removed",
        "repository.updated",
        "repository.added",
        "project.updated",
        "project.created",
    ]
    assert [(entry["before"] is None, entry["after"] is None) for entry in entries] == [
        (False, True),
        *[(False, False)] * 4,
        (True, False),
    ]
    renamed = entries[-2]
    assert (renamed["before"]["name"], renamed["after"]["name"]) == ("Web shop", "Renamed")
    assert (renamed["before"]["revision"], renamed["after"]["revision"]) == (1, 2)
    assert renamed["actor"]["name"] == "admin"
    assert renamed["address"] == "127.0.0.1"
    assert renamed["request_id"]


async def test_no_secret_stands_in_the_audit_log(admin: httpx.AsyncClient, db: Database) -> None:
    _, key = await change_everything(admin)
    secrets = [TOKEN, NEW_TOKEN, key, admin.headers["X-API-Key"]]
    entries = await db["audit_log"].find().to_list()
    assert len(entries) == 8
    for entry in entries:
        raw = bson.encode(entry)
        assert not [secret for secret in secrets if secret[:-4].encode() in raw]
        assert bson.Binary not in {type(value) for value in every_value(entry)}, "encrypted tokens have no place here"


def every_value(value: Any) -> list[Any]:
    """The leaves of a document."""
    if isinstance(value, dict):
        return [leaf for child in value.values() for leaf in every_value(child)]
    if isinstance(value, list):
        return [leaf for child in value for leaf in every_value(child)]
    return [value]


async def test_the_log_is_narrowed(admin: httpx.AsyncClient, db: Database) -> None:
    await change_everything(admin)
    key = await db["api_keys"].find_one({"name": "admin"})
    assert key is not None
    assert [entry["action"] for entry in await listed(admin, action="project.updated")] == ["project.updated"]
    assert await listed(admin, actor="nobody") == []
    assert len(await listed(admin, actor="admin")) == len(await listed(admin, actor=key["_id"])) == 8
    assert await listed(admin, actor='{"$ne": null}') == []
    (made,) = await listed(admin, action="project.created")
    assert made in await listed(admin, at_from=made["at"])
    assert made not in await listed(admin, at_to=made["at"])


async def test_the_log_is_paged(admin: httpx.AsyncClient) -> None:
    await change_everything(admin)
    seen: list[str] = []
    cursor: str | None = None
    for expected in (3, 3, 2):
        given: dict[str, Any] = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await admin.get("/api/audit-log", params=given)).json()
        assert len(page["items"]) == expected
        seen += [entry["id"] for entry in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert seen == [entry["id"] for entry in await listed(admin)]


async def test_only_administrators_read_the_log(anonymous: httpx.AsyncClient, make_key: MakeKey) -> None:
    for scope, status in (("read", 403), ("write", 403), ("admin", 200)):
        response = await anonymous.get("/api/audit-log", headers={"X-API-Key": await make_key(scope)})
        assert response.status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nobody_changes_the_log(admin: httpx.AsyncClient, method: str) -> None:
    assert (await admin.request(method, "/api/audit-log")).status_code == 405
