"""What a ticket is told when a run begins and ends, how often, and where it is moved: against the lab's Jira."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.error_queue import ErrorQueue
from sdlc_agents.consumer.reporting.notices import Notices
from sdlc_agents.developments import changes
from sdlc_agents.developments.model import Notice, NoticeState, Outcome, Status
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.trackers.jira import Jira
from support.agents import Developments
from support.lab import JIRA_TOKEN, comments
from support.world import jira_with_a_ticket

DONE = Outcome(
    status=Status.COMPLETED,
    kind="pull_request",
    pr_mr_url="https://git.example/shop/pulls/7",
    turns=12,
    duration_seconds=185,
    cost_usd=0.25,
)
FAILED = Outcome(status=Status.FAILED, kind="no_change", error_message="the agent changed nothing, ask @kim")
MOVES = {
    "status_when_started": "In Review",
    "status_when_completed": "Done",
    "status_when_failed": "To Do",
}


class Untouched(ErrorQueue):
    """Nothing is to be published here."""

    def __init__(self) -> None:
        pass

    async def publish(self, original_message: object, error: str) -> None:
        del original_message
        raise AssertionError(error)


class Desk:
    """A ticket in the lab's Jira, and a development of it."""

    def __init__(self, db: Database, developments: Developments, url: str, rest: httpx.AsyncClient, key: str) -> None:
        self.db = db
        self.developments = developments
        self.url = url
        self.rest = rest
        self.key = key
        self._clients: list[httpx.AsyncClient] = []
        self.repository = ClaimRepository(db, "c", lease_seconds=30, queued_grace_seconds=60)

    async def begin(self, **ticket: str) -> Claim:
        """A claim of which the ticket is to be told, with this policy."""
        development_id = await self.developments.queue()
        await self.db["developments"].update_one({"_id": development_id}, {"$set": {"jira_issue_key": self.key}})
        claim = await self.repository.claim(development_id)
        assert claim is not None
        await self.note(claim, **ticket)
        return claim

    async def note(self, claim: Claim, **ticket: str) -> None:
        """What a run notes when it has chosen its repository."""
        url = "https://git.example/shop/storefront"
        await self.repository.note(claim, {**changes.with_ticket_policy(ticket), **changes.placed(url, claim.branch)})
        await self.repository.note(claim, changes.start_to_be_told())

    def notices(self, **options: Any) -> Notices:
        """One consumer's, with a Jira of these options for its client."""
        client = httpx.AsyncClient(trust_env=False, **options)
        self._clients.append(client)
        return Notices(self.repository, Untouched(), Jira(self.url, SecretStr(JIRA_TOKEN), None, client))

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def comments(self) -> list[str]:
        return await comments(self.rest, self.key)

    async def status(self) -> str:
        return str((await self.rest.get(f"/issue/{self.key}")).json()["fields"]["status"]["name"])

    async def states(self, claim: Claim) -> Any:
        return (await self.developments.get(claim.development_id))["notices"]

    async def soon(self, claim: Claim) -> None:
        """As if what is to be told later were due, or its teller gone."""
        await self.db["developments"].update_one({"_id": claim.development_id}, {"$unset": {"notice_after": 1}})


@pytest.fixture
async def desk(db: Database, developments: Developments) -> AsyncIterator[Desk]:
    async with jira_with_a_ticket() as (port, rest, key):
        desk = Desk(db, developments, f"http://127.0.0.1:{port}", rest, key)
        try:
            yield desk
        finally:
            await desk.close()


class Faulty(httpx.AsyncBaseTransport):
    """The way to Jira, with a fault: `fault` sees each request, and may answer or raise in Jira's place."""

    def __init__(self, fault: Callable[[httpx.Request], httpx.Response | None], *, lost: str = "") -> None:
        self._fault = fault
        self._lost = lost
        self._real = httpx.AsyncHTTPTransport()
        self.asked: list[str] = []

    async def aclose(self) -> None:
        await self._real.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path.rpartition('/')[2]}"
        self.asked.append(call)
        answer = self._fault(request) or await self._real.handle_async_request(request)
        if call == self._lost:
            self._lost = ""
            raise httpx.ReadError("the answer was lost")
        return answer


async def test_a_ticket_is_told_where_the_work_began_and_how_to_stop_it_once(desk: Desk) -> None:
    claim = await desk.begin()
    for _ in range(2):
        await desk.notices().send()
    (told,) = await desk.comments()
    assert told.startswith(
        "The SDLC AI Agents began to work on this ticket, in https://git.example/shop/storefront on "
    )
    assert f"branch feature/{desk.key}" in told
    assert f"/api/developments/{claim.development_id}/cancel" in told
    assert await desk.states(claim) == {"started": "done"}


async def test_the_end_has_the_link_and_the_figures(desk: Desk) -> None:
    claim = await desk.begin()
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    await desk.notices().send()
    (told,) = await desk.comments()
    for part in (
        "opened a pull request: https://git.example/shop/pulls/7",
        "Outcome: completed (pull_request)",
        "Cost: 0.2500 USD",
        "Duration: 3 min 5 s",
        "Turns: 12",
    ):
        assert part in told
    assert "Attempts" not in told


async def test_a_failure_says_why_and_what_to_do_and_notifies_nobody(desk: Desk) -> None:
    claim = await desk.begin()
    await desk.db["developments"].update_one({"_id": claim.development_id}, {"$set": {"attempts": 3}})
    await desk.repository.finish(claim, FAILED, [Notice.TICKET])
    await desk.notices().send()
    (told,) = await desk.comments()
    assert "could not finish this ticket: the agent changed nothing" in told
    assert f"retry it (POST /api/developments/{claim.development_id}/retry" in told
    assert "or move the ticket to the trigger status again" in told
    assert "Outcome: failed (no_change)" in told
    assert "Attempts: 3" in told
    assert "@kim" not in told


async def test_a_start_that_jira_did_not_take_in_time_is_not_told_after_the_end(desk: Desk) -> None:
    claim = await desk.begin()
    await desk.notices(transport=Faulty(lambda _: httpx.Response(503))).send()
    assert await desk.states(claim) == {"started": "pending"}
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    await desk.soon(claim)
    for _ in range(2):
        await desk.notices().send()
    (told,) = await desk.comments()
    assert "opened a pull request" in told


async def test_while_a_start_is_being_told_the_end_waits_for_it(desk: Desk) -> None:
    claim = await desk.begin()
    telling = await desk.repository.take_untold()
    assert telling is not None
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    assert await desk.repository.take_untold() is None
    await desk.repository.told(telling, {Notice.STARTED: NoticeState.DONE})
    assert await desk.states(claim) == {"ticket": "pending"}
    ended = await desk.repository.take_untold()
    assert ended is not None
    assert ended["status"] == "completed"


async def test_each_attempt_that_began_is_told_and_one_that_was_handed_back_counts_once(desk: Desk) -> None:
    claim = await desk.begin()
    await desk.notices().send()
    await desk.repository.hand_back(claim)
    again = await desk.repository.claim(claim.development_id)
    assert again is not None
    await desk.note(again)
    await desk.notices().send()
    assert len(await desk.comments()) == 1, "the same attempt, begun again elsewhere"
    expired = [{"$set": {"lease.expires_at": {"$subtract": ["$$NOW", 1000]}}}]
    await desk.db["developments"].update_one({"_id": claim.development_id}, expired)
    second = await desk.repository.claim(claim.development_id)
    assert second is not None
    await desk.note(second)
    await desk.notices().send()
    assert sum("(attempt 2)" in told for told in await desk.comments()) == 1


@pytest.mark.parametrize("outcome", [None, DONE, FAILED], ids=["start", "completed", "failed"])
async def test_a_consumer_that_dies_before_it_noted_its_comment_makes_no_second_one(
    desk: Desk, outcome: Outcome | None
) -> None:
    claim = await desk.begin(**MOVES)
    if outcome is not None:
        await desk.repository.finish(claim, outcome, [Notice.TICKET])
    transport = Faulty(lambda _: None, lost="POST comment")
    await desk.notices(transport=transport).send()
    assert len(await desk.comments()) == 1
    assert "pending" in (await desk.states(claim)).values()
    status = await desk.status()
    await desk.soon(claim)
    after = Faulty(lambda _: None)
    await desk.notices(transport=after).send()
    assert after.asked == ["GET comment"]
    assert (len(await desk.comments()), await desk.status()) == (1, status)
    assert "pending" not in (await desk.states(claim)).values()


async def test_of_several_consumers_one_tells(desk: Desk) -> None:
    claim = await desk.begin()
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    await asyncio.gather(*(desk.notices().send() for _ in range(8)))
    assert len(await desk.comments()) == 1


@pytest.mark.parametrize(
    ("code", "state"),
    [(401, "pending"), (403, "pending"), (404, "refused"), (429, "pending"), (500, "pending"), (503, "pending")],
)
async def test_what_jira_answers_decides_whether_it_is_asked_again(desk: Desk, code: int, state: str) -> None:
    claim = await desk.begin()
    await desk.repository.finish(claim, DONE, [Notice.TICKET])

    def refuse(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(code) if request.method == "POST" else None

    transport = Faulty(refuse)
    for _ in range(3):
        await desk.notices(transport=transport).send()
    assert transport.asked == ["GET comment", "POST comment"], "it is asked again at once"
    assert await desk.states(claim) == {"ticket": state}
    await desk.soon(claim)
    await desk.notices().send()
    assert len(await desk.comments()) == (1 if state == "pending" else 0)


async def test_a_jira_that_names_a_time_is_not_asked_before(desk: Desk) -> None:
    claim = await desk.begin()
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    await desk.notices(transport=Faulty(lambda _: httpx.Response(429, headers={"Retry-After": "600"}))).send()
    document = await desk.developments.get(claim.development_id)
    assert 500 < (document["notice_after"] - document["completed_at"]).total_seconds() < 700


async def test_a_ticket_is_moved_as_its_project_wants(desk: Desk) -> None:
    claim = await desk.begin(**MOVES)
    await desk.notices().send()
    assert await desk.status() == "In Review"
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    await desk.notices().send()
    assert await desk.status() == "Done"
    failing = await desk.begin(**MOVES)
    await desk.repository.finish(failing, FAILED, [Notice.TICKET])
    await desk.notices().send()
    assert await desk.status() == "To Do"
    assert not any("could not be moved" in told for told in await desk.comments())


async def test_a_move_that_the_workflow_does_not_offer_is_said_in_the_comment(desk: Desk) -> None:
    claim = await desk.begin(status_when_completed="Deployed")
    await desk.repository.finish(claim, DONE, [Notice.TICKET])
    await desk.notices().send()
    (told,) = await desk.comments()
    assert "opened a pull request" in told
    assert 'could not be moved to "Deployed": its workflow offers no transition from "To Do"' in told
    assert await desk.states(claim) == {"ticket": "done"}


async def test_moves_that_jira_cannot_do_now_are_waited_for_but_not_for_ever(desk: Desk) -> None:
    claim = await desk.begin(**MOVES)
    await desk.repository.finish(claim, DONE, [Notice.TICKET])

    def away(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(503) if request.url.path.endswith("/transitions") else None

    await desk.notices(transport=Faulty(away)).send()
    assert await desk.comments() == []
    ago = [{"$set": {"completed_at": {"$subtract": ["$completed_at", 600_000]}}}]
    await desk.db["developments"].update_one({"_id": claim.development_id}, ago)
    await desk.soon(claim)
    await desk.notices(transport=Faulty(away)).send()
    (told,) = await desk.comments()
    assert 'could not be moved to "Done"' in told
