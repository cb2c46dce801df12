"""What a forge that does not do as it should costs: one line in the log, and fewer and fewer calls."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import PullRequestText
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.reviews import rules
from sdlc_agents.reviews.access import ForgeAccess
from sdlc_agents.reviews.poller import Pace, ReviewPoller
from sdlc_agents.reviews.repository import WatchRepository
from support.agents import Developments
from support.github import CLASSIC, GitHub, Quota
from support.standins import running

FORGE = "https://git.example"


@pytest.fixture
async def pull_requests(db: Database, developments: Developments) -> list[str]:
    """Five, each of another ticket, in one repository; somebody may ask for changes there."""
    await developments.register(f"{FORGE}/o/r", token="t" * 20)
    policy = {"pull_requests": {"follow_up_by": ["kim"]}, "repositories.0.forge": "gitea"}
    await db["projects"].update_one({}, {"$set": policy})
    urls = [f"{FORGE}/o/r/pulls/{number}" for number in range(1, 6)]
    for number, url in enumerate(urls, 1):
        await completed(db, developments, number, url, f"{FORGE}/o/r")
    return urls


class Forge:
    """Answers of a Gitea, and how often each pull request was asked for."""

    def __init__(self) -> None:
        self.status: dict[str, int] = {}
        self.default = 200
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        number = path.split("/")[-1]
        if "/pulls/" in path and number.isdigit():
            self.asked.append(number)
            status = self.status.get(number, self.default)
            return httpx.Response(status, json={"state": "open", "head": {"sha": "c"}, "message": "no"})
        body: Any = {"login": "sdlc-bot"} if path.endswith("/user") else []
        return httpx.Response(200, json=body)


async def look(db: Database, cipher: FieldCipher, forge: Forge, *, poller: ReviewPoller | None = None) -> ReviewPoller:
    """Look at all that is due now, and again after everything became due, with the same poller."""
    client = httpx.AsyncClient(transport=httpx.MockTransport(forge))
    poller = poller or ReviewPoller(WatchRepository(db, "a"), ForgeAccess(cipher, client), Pace(60, 30))
    await poller.look()
    return poller


async def completed(db: Database, developments: Developments, number: int, url: str, repository: str) -> None:
    """A development of its own ticket, which led to this pull request."""
    development_id = await developments.queue(number=number)
    number = int(url.rpartition("/")[2])
    values = {"status": "completed", "pr_mr_url": url, "pr_mr_number": number, "completed_at": now()}
    values["repository_url"] = repository
    await db["developments"].update_one({"_id": development_id}, {"$set": values})


async def become_due(db: Database) -> None:
    await db["pull_request_watches"].update_many({}, {"$set": {"next_at": now() - timedelta(seconds=1)}})


async def waits(db: Database, number: str) -> float:
    """Seconds until a pull request is looked at again."""
    watch = await db["pull_request_watches"].find_one({"_id": f"{FORGE}/o/r/pulls/{number}"})
    assert watch is not None
    return float((watch["next_at"] - now()).total_seconds())


@pytest.mark.usefixtures("pull_requests")
async def test_one_pull_request_that_the_forge_cannot_show_slows_no_other(db: Database, cipher: FieldCipher) -> None:
    forge = Forge()
    forge.status["3"] = 500
    with capture_logs() as logs:
        poller = await look(db, cipher, forge)
        for _ in range(5):
            await become_due(db)
            await look(db, cipher, forge, poller=poller)
    assert {number: forge.asked.count(number) for number in "12345"} == dict.fromkeys("12345", 6)
    assert await waits(db, "3") > 500, "it is asked for as often as ever"
    assert await waits(db, "4") < 70
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["forge_away"]


@pytest.mark.usefixtures("pull_requests")
async def test_a_forge_that_limits_the_rate_is_left_alone_as_a_whole_and_welcomed_back_once(
    db: Database, cipher: FieldCipher
) -> None:
    forge = Forge()
    with capture_logs() as logs:
        poller = await look(db, cipher, forge)
        forge.default = 429
        for _ in range(4):
            await become_due(db)
            await look(db, cipher, forge, poller=poller)
        assert min([await waits(db, number) for number in "12345"]) > 50
        forge.default = 200
        await become_due(db)
        await look(db, cipher, forge, poller=poller)
    events = [entry["event"] for entry in logs if entry["event"].startswith("forge_")]
    assert events == ["forge_away", "forge_back"]


@pytest.mark.usefixtures("pull_requests")
async def test_a_token_that_is_refused_is_logged_once_for_each_pull_request_and_asked_seldom(
    db: Database, cipher: FieldCipher
) -> None:
    forge = Forge()
    forge.default = 403
    with capture_logs() as logs:
        poller = await look(db, cipher, forge)
        await become_due(db)
        await look(db, cipher, forge, poller=poller)
    said = [entry for entry in logs if entry["event"] == "reviews_not_read"]
    assert len(said) == 5
    assert all("lacks the right write:repository" in entry["error"] for entry in said)
    assert await waits(db, "1") > 500


@pytest.mark.usefixtures("pull_requests")
async def test_everything_else_goes_on_while_a_long_conversation_is_read(
    db: Database, cipher: FieldCipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, went_on, decide = asyncio.Event(), threading.Event(), rules.decide
    loop, in_time = asyncio.get_running_loop(), list[bool]()

    def slow(*given: Any) -> rules.Decision:
        loop.call_soon_threadsafe(begun.set)
        in_time.append(went_on.wait(2))
        return decide(*given)

    async def something_else() -> None:
        await begun.wait()
        went_on.set()

    monkeypatch.setattr(rules, "decide", slow)
    await asyncio.gather(look(db, cipher, Forge()), something_else())
    assert in_time == [True] * 5


async def many_looks(db: Database, poller: ReviewPoller) -> None:
    """At every pull request once every five minutes, as though they passed, unless it has to wait for longer."""
    for _ in range(12):
        soon = now() + timedelta(seconds=600)
        await db["pull_request_watches"].update_many({"next_at": {"$lt": soon}}, {"$set": {"next_at": now()}})
        await poller.look()


async def test_looks_leave_a_part_of_the_rate_limit_to_the_runs(
    db: Database, developments: Developments, cipher: FieldCipher
) -> None:
    repository = "https://github.com/demo/shop"
    await developments.register(repository, token=CLASSIC)
    await db["projects"].update_one({}, {"$set": {"pull_requests": {"follow_up_by": ["kim"]}}})
    github = GitHub()
    github.conditional = False  # every look costs
    async with running(github) as client:
        forge = await connection.connect(repository, CLASSIC, client)
        for number in range(1, 6):
            github.branches.add(f"feature/SHOP-{number}")
            made = await forge.ensure_pull_request(PullRequestText(f"feature/SHOP-{number}", "main", "x", ""))
            await completed(db, developments, number, made.url, repository)
        poller = ReviewPoller(WatchRepository(db, "a"), ForgeAccess(cipher, client), Pace(60, 30))
        github.quota = Quota(200, int(now().timestamp()) + 3000)
        with capture_logs() as logs:
            await many_looks(db, poller)
        assert 20 < github.quota.remaining < 40
        watches = await db["pull_request_watches"].find().to_list()
        assert min((watch["next_at"] - now()).total_seconds() for watch in watches) > 2900
        github.branches.add("feature/SHOP-9")
        assert (await forge.ensure_pull_request(PullRequestText("feature/SHOP-9", "main", "x", ""))).created
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["looks_rest"]
        github.quota = Quota(100, int(now().timestamp()) + 3600)
        await become_due(db)
        await poller.look()
        assert github.quota.used == 20
