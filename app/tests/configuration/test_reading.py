"""GET /api/developments and /api/webhook-events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sdlc_agents.kernel.mongo import Database
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
@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "201"), ("limit", "x"), ("cursor", "c" * 256)])
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


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def fill_by_the_hour(db: Database) -> None:
    """H-0 came at noon, H-1 an hour later, and so on to H-3."""
    events = [replace(event(issue_key=f"H-{hour}"), received_at=NOON + timedelta(hours=hour)) for hour in range(4)]
    await WebhookRepository(db, "tests").store(events)


@pytest.mark.parametrize(
    ("filters", "keys"),
    [
        ({"jira_issue_key": "H-2"}, ["H-2"]),
        ({"jira_issue_key": "h-2"}, []),
        ({"jira_issue_key": '{"$ne": 1}'}, []),
        ({"status": "In Development", "jira_issue_key": "H-1"}, ["H-1"]),
        ({"status": "Done"}, []),
        ({"state": "published"}, ["H-0"]),
        ({"state": "stored", "jira_project_key": "T"}, ["H-3", "H-2", "H-1"]),
        ({"received_from": "2026-01-31T13:00:00Z"}, ["H-3", "H-2", "H-1"]),
        ({"received_to": "2026-01-31T13:00:00Z"}, ["H-0"]),
        ({"received_from": "2026-01-31T14:00:00+01:00", "received_to": "2026-01-31T14:00:00.001Z"}, ["H-2", "H-1"]),
    ],
)
async def test_events_are_narrowed(
    api: httpx.AsyncClient, db: Database, filters: dict[str, str], keys: list[str]
) -> None:
    await fill_by_the_hour(db)
    await db["webhook_events"].update_one({"jira_issue_key": "H-0"}, {"$set": {"state": "published"}})
    page = (await api.get("/api/webhook-events", params=filters)).json()
    assert [item["jira_issue_key"] for item in page["items"]] == keys


async def test_a_narrowed_list_is_paged_to_its_end(api: httpx.AsyncClient, db: Database) -> None:
    await fill_by_the_hour(db)
    filters = {"received_from": "2026-01-31T13:00:00Z", "limit": "2"}
    first = (await api.get("/api/webhook-events", params=filters)).json()
    second = (await api.get("/api/webhook-events", params={**filters, "cursor": first["next_cursor"]})).json()
    assert [item["jira_issue_key"] for item in first["items"] + second["items"]] == ["H-3", "H-2", "H-1"]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "lost"),
        ("status", "s" * 256),
        ("received_from", "yesterday"),
        ("received_from", "2026-01-31T13:00:00"),
        ("received_from", "1769860800"),
        ("received_to", "2026-02-30T13:00:00Z"),
    ],
)
async def test_a_wrong_filter_is_named(api: httpx.AsyncClient, name: str, value: str) -> None:
    response = await api.get("/api/webhook-events", params={name: value})
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{name}: ")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_the_ends_of_time_are_moments_too(api: httpx.AsyncClient, moment: str) -> None:
    response = await api.get("/api/webhook-events", params={"received_from": moment})
    assert (response.status_code, response.json()["items"]) == (200, [])
