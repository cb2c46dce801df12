"""GET /api/developments and /api/webhook-events."""

import httpx
import pytest

from sdlc_agents.mongo import Database
from sdlc_agents.webhooks.repository import WebhookRepository
from support.webhook_service import event


async def fill(db: Database, number: int) -> None:
    repository = WebhookRepository(db, "tests")
    events = [event(issue_key=f"T-{count}") for count in range(number)]
    await repository.store(events)
    await repository.queue_developments(events)


@pytest.mark.parametrize("path", ["/api/developments", "/api/webhook-events"])
async def test_pages_go_newest_first_to_the_end(api: httpx.AsyncClient, db: Database, path: str) -> None:
    await fill(db, 5)
    keys: list[str] = []
    cursor: str | None = None
    for expected in (2, 2, 1):
        page = (await api.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        assert len(page["items"]) == expected
        keys += [item["jira_issue_key"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert keys == ["T-4", "T-3", "T-2", "T-1", "T-0"]
    assert cursor is None


@pytest.mark.parametrize("path", ["/api/developments", "/api/webhook-events"])
async def test_the_list_is_narrowed_by_jira_project_key(api: httpx.AsyncClient, db: Database, path: str) -> None:
    await fill(db, 2)
    of_t = await api.get(path, params={"jira_project_key": "T"})
    of_others = await api.get(path, params={"jira_project_key": '{"$ne": ""}'})
    assert len(of_t.json()["items"]) == 2
    assert of_others.json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("path", ["/api/developments", "/api/webhook-events"])
@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "201"), ("limit", "x"), ("cursor", "c" * 101)])
async def test_a_wrong_parameter_is_named(api: httpx.AsyncClient, path: str, name: str, value: str) -> None:
    response = await api.get(path, params={name: value})
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{name}: ")


async def test_developments_are_narrowed_by_status(api: httpx.AsyncClient, db: Database) -> None:
    await fill(db, 2)
    await db["developments"].update_one({"jira_issue_key": "T-0"}, {"$set": {"status": "failed"}})
    page = (await api.get("/api/developments", params={"status": "failed"})).json()
    assert [item["jira_issue_key"] for item in page["items"]] == ["T-0"]
    assert (await api.get("/api/developments", params={"status": "odd"})).status_code == 400


async def test_a_development_is_shown_without_its_inner_fields(api: httpx.AsyncClient, db: Database) -> None:
    await fill(db, 1)
    document = await db["developments"].find_one_and_update({}, {"$set": {"lease": {"owner": "c1"}, "fence": 3}})
    assert document is not None
    body = (await api.get(f"/api/developments/{document['_id']}")).json()
    assert (body["id"], body["status"]) == (document["_id"], "queued")
    assert body["timings"]["accepted_at"] == body["created_at"]
    assert not {"lease", "fence", "_id"} & set(body)


async def test_an_event_is_shown_with_its_payload(api: httpx.AsyncClient, db: Database) -> None:
    await fill(db, 1)
    document = await db["webhook_events"].find_one()
    assert document is not None
    listed = (await api.get("/api/webhook-events")).json()["items"][0]
    body = (await api.get(f"/api/webhook-events/{document['_id']}")).json()
    assert "raw_payload" not in listed
    assert body == {**listed, "raw_payload": {}}


@pytest.mark.parametrize("path", ["/api/developments", "/api/webhook-events"])
async def test_what_does_not_exist_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(f"{path}/{'0' * 24}")
    assert response.status_code == 404
    assert response.json()["error"].startswith("there is no such ")
