"""/api/developments: lists, retry, cancel and the transcript."""

import asyncio
from typing import Any

import httpx
import pytest
from bson import ObjectId

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.developments import repository as developments_repository
from sdlc_agents.developments.model import Notice, Outcome, Status
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.repository import WebhookRepository
from support.apikeys import MakeKey
from support.webhook_service import event

FAILED = Outcome(status=Status.FAILED, kind="no_change", error_message="nothing was changed", attempt_cost_usd=0.5)
DONE = Outcome(status=Status.COMPLETED, kind="pull_request", pr_mr_url="https://git.example/1")


def consumer(db: Database) -> ClaimRepository:
    return ClaimRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)


async def queued(db: Database, issue_key: str = "T-1") -> str:
    made = event(issue_key=issue_key)
    await WebhookRepository(db, "tests").queue_developments([made])
    return made.development_id


async def claimed(db: Database) -> Claim:
    claim = await consumer(db).claim(await queued(db))
    assert claim is not None
    return claim


async def ended(db: Database, outcome: Outcome) -> str:
    claim = await claimed(db)
    await consumer(db).finish(claim, outcome, [Notice.TICKET])
    return claim.development_id


async def test_developments_are_narrowed_by_ticket_project_and_status(api: httpx.AsyncClient, db: Database) -> None:
    for key in ("T-1", "T-2", "T-2"):
        await queued(db, key)
    failed = await ended(db, FAILED)

    async def keys(**given: str) -> list[str]:
        return [item["jira_issue_key"] for item in (await api.get("/api/developments", params=given)).json()["items"]]

    assert await keys(jira_issue_key="T-2") == ["T-2", "T-2"]
    assert await keys(jira_issue_key="T-1", status="failed") == ["T-1"]
    assert await keys(jira_issue_key="T-2", status="failed") == []
    assert await keys(jira_issue_key='{"$ne": ""}') == []
    page = (await api.get("/api/developments", params={"jira_project_key": "T", "limit": 3})).json()
    rest = (await api.get("/api/developments", params={"limit": 3, "cursor": page["next_cursor"]})).json()
    assert (len(page["items"]), len(rest["items"]), rest["next_cursor"]) == (3, 1, None)
    assert failed in {item["id"] for item in page["items"] + rest["items"]}


async def test_a_queued_development_is_cancelled_at_once(api: httpx.AsyncClient, db: Database) -> None:
    development_id = await queued(db)
    answer = await api.post(f"/api/developments/{development_id}/cancel")
    body = answer.json()
    assert (answer.status_code, body["status"], body["outcome"]) == (202, "cancelled", "cancelled")
    assert (body["error_message"], body["completed_at"]) == ("cancelled by write", body["cancel_requested_at"])
    assert await consumer(db).claim(development_id) is None
    assert await consumer(db).claim_any() is None
    untold = await consumer(db).take_untold()
    assert untold is not None
    assert (untold["_id"], untold["notices"]) == (development_id, {"ticket": "pending"})


async def test_a_follow_up_shows_what_was_asked_and_its_cancellation_is_told_to_the_reviewer(
    api: httpx.AsyncClient, db: Database
) -> None:
    development_id, ticket_id = await queued(db), await queued(db)
    comments = [{"author": "kim", "body": "Rename it.", "path": "a.py", "line": 3, "requests_changes": False}]
    follow_up = {"pull_request_number": 7, "pull_request_url": "https://git.example/o/r/pulls/7", "of": ticket_id}
    follow_up |= {"requested_by": "kim", "comments": comments}
    values = {"kind": "follow_up", "follow_up": follow_up}
    await db["developments"].update_one({"_id": development_id}, {"$set": values})
    shown = (await api.get(f"/api/developments/{development_id}")).json()
    assert (shown["kind"], shown["follow_up"]) == ("follow_up", follow_up)
    older = (await api.get(f"/api/developments/{ticket_id}")).json()
    assert (older["kind"], older["follow_up"]) == ("ticket", None)
    for ended_id in (development_id, ticket_id):
        assert (await api.post(f"/api/developments/{ended_id}/cancel")).status_code == httpx.codes.ACCEPTED
    told = {document["_id"]: document["notices"] async for document in db["developments"].find()}
    assert told == {
        development_id: {"ticket": "pending", "pull_request": "pending"},
        ticket_id: {"ticket": "pending"},
    }


async def test_the_event_of_a_cancelled_development_does_not_bring_it_back(
    api: httpx.AsyncClient, db: Database
) -> None:
    made = event()
    repository = WebhookRepository(db, "tests")
    await repository.queue_developments([made])
    await api.post(f"/api/developments/{made.development_id}/cancel")
    await repository.queue_developments([made])  # the publisher was slow to say that it is done
    assert (await api.get(f"/api/developments/{made.development_id}")).json()["status"] == "cancelled"


async def test_a_running_development_is_asked_to_stop_once(api: httpx.AsyncClient, db: Database) -> None:
    claim = await claimed(db)
    first = await api.post(f"/api/developments/{claim.development_id}/cancel")
    again = await api.post(f"/api/developments/{claim.development_id}/cancel")
    assert (first.status_code, first.json()["status"]) == (202, "running")
    assert (again.status_code, again.json()) == (202, first.json())
    assert await consumer(db).cancelled_by(claim) == "write"
    actions = [entry["action"] async for entry in db["audit_log"].find()]
    assert actions == ["development.cancel_requested"]


@pytest.mark.parametrize(("outcome", "refused"), [(DONE, ["cancel", "retry"]), (FAILED, ["cancel"])])
async def test_what_has_ended_is_not_cancelled_and_what_succeeded_not_retried(
    api: httpx.AsyncClient, db: Database, outcome: Outcome, refused: list[str]
) -> None:
    development_id = await ended(db, outcome)
    for action in refused:
        answer = await api.post(f"/api/developments/{development_id}/{action}")
        assert answer.status_code == 409
        assert outcome.status in answer.json()["error"]
    assert (await api.get(f"/api/developments/{development_id}")).json()["status"] == outcome.status
    assert await db["audit_log"].count_documents({}) == 0


@pytest.mark.parametrize("state", ["queued", "running"])
async def test_what_is_to_be_done_already_is_not_retried(api: httpx.AsyncClient, db: Database, state: str) -> None:
    development_id = (await claimed(db)).development_id if state == "running" else await queued(db)
    assert (await api.post(f"/api/developments/{development_id}/retry")).status_code == 409


async def test_a_failed_development_is_queued_again_with_its_attempts_kept(
    api: httpx.AsyncClient, db: Database
) -> None:
    development_id = await ended(db, FAILED)
    answer = await api.post(f"/api/developments/{development_id}/retry")
    body = answer.json()
    assert (answer.status_code, body["status"], body["outcome"], body["error_message"]) == (202, "queued", None, None)
    (attempt,) = body["attempts_log"]
    assert attempt["started_at"] <= attempt["ended_at"]
    told = {name: attempt[name] for name in ("attempt", "outcome", "error_message", "cost_usd")}
    assert told == {"attempt": 1, "outcome": "no_change", "error_message": "nothing was changed", "cost_usd": 0.5}
    assert set(body["timings"]) == {"accepted_at", "retried_at"}
    assert await consumer(db).one_is_due()
    claim = await consumer(db).claim_any()
    assert claim is not None
    assert (claim.attempt, claim.tries, claim.fence) == (2, 1, 2)
    assert not await consumer(db).one_is_due()
    entry = await db["audit_log"].find_one({"action": "development.retried"})
    assert entry is not None
    assert (entry["before"]["status"], entry["after"]["status"]) == ("failed", "queued")


async def test_of_many_retries_at_once_one_counts(api: httpx.AsyncClient, db: Database) -> None:
    path = f"/api/developments/{await ended(db, FAILED)}/retry"
    answers = await asyncio.gather(*(api.post(path) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 7
    assert await db["audit_log"].count_documents({"action": "development.retried"}) == 1


async def test_cancelling_and_finishing_at_once_agree_on_one_end(api: httpx.AsyncClient, db: Database) -> None:
    for _ in range(10):
        claim = await claimed(db)
        path = f"/api/developments/{claim.development_id}"
        answer, _ = await asyncio.gather(api.post(f"{path}/cancel"), consumer(db).finish(claim, DONE, []))
        assert answer.status_code in {202, 409}
        assert (await api.get(path)).json()["status"] == "completed"


@pytest.mark.parametrize("action", ["cancel", "retry"])
async def test_steering_wants_the_scope_write_and_a_development(
    anonymous: httpx.AsyncClient, make_key: MakeKey, db: Database, action: str
) -> None:
    path = f"/api/developments/{await queued(db)}/{action}"
    anonymous.headers["X-API-Key"] = await make_key("read")
    refused = await anonymous.post(path)
    assert (refused.status_code, refused.json()["error"]) == (403, "this API key does not have the scope write")
    anonymous.headers["X-API-Key"] = await make_key("write")
    assert (await anonymous.post(f"/api/developments/{'0' * 24}/{action}")).status_code == 404


async def tell(db: Database, development_id: str, number: int, **fields: Any) -> None:
    about = {"development_id": development_id, "job_id": "j", "attempt_fence": 1, "seq": number, "at": now()}
    await db["agent_events"].insert_one({"_id": ObjectId(), **about, "stored_at": now(), **fields})


async def test_a_transcript_is_read_oldest_first_page_by_page(api: httpx.AsyncClient, db: Database) -> None:
    development_id, other = await queued(db), await queued(db)
    await tell(db, development_id, 0, type="started", model="m", version="1")
    await tell(db, other, 0, type="message", text="another's")
    call = {"type": "tool", "phase": "call", "tool_id": "t", "name": "Bash", "content": "ls", "is_error": False}
    await tell(db, development_id, 1, **call)
    await tell(db, development_id, 2, type="message", text="Done.")
    path = f"/api/developments/{development_id}/transcript"
    first = (await api.get(path, params={"limit": 2})).json()
    second = (await api.get(path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [item["seq"] for item in first["items"] + second["items"]] == [0, 1, 2]
    assert {name: first["items"][1][name] for name in call} == call
    assert (second["items"][0]["text"], second["next_cursor"]) == ("Done.", None)
    assert not {"stored_at", "attempt_fence", "_id"} & set(first["items"][0])


async def test_a_page_of_long_events_is_shorter(
    api: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(developments_repository, "_PAGE_CHARACTERS", 1000)
    development_id = await queued(db)
    for number in range(3):
        await tell(db, development_id, number, type="message", text="x" * 800)
    path, seen = f"/api/developments/{development_id}/transcript", []
    cursor: str | None = None
    for _ in range(3):
        page = (await api.get(path, params={"cursor": cursor} if cursor else {})).json()
        seen.append([item["seq"] for item in page["items"]])
        cursor = page["next_cursor"]
    assert (seen, cursor) == ([[0], [1], [2]], None)


async def test_a_transcript_wants_a_development_and_a_cursor_of_its_own(api: httpx.AsyncClient, db: Database) -> None:
    assert (await api.get(f"/api/developments/{'0' * 24}/transcript")).status_code == 404
    path = f"/api/developments/{await queued(db)}/transcript"
    assert (await api.get(path)).json() == {"items": [], "next_cursor": None}
    wrong = await api.get(path, params={"cursor": "x"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "cursor: is not one that this list gave")
