"""Pull requests on a stand-in for GitHub that keeps GitHub's own description of its API."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse
from structlog.testing import capture_logs

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Comment, Forge, ForgeError, ForgeKind, ForgeUnavailableError, PullRequestText
from sdlc_agents.git.command import Credentials
from sdlc_agents.kernel.clock import now
from support.github import CLASSIC, FINE_GRAINED, REPOSITORY, GitHub, GitHubToken, Quota, rate_limited
from support.standins import Together, running

URL = "https://github.com/demo/shop"
ENTERPRISE = "code.example"
BRANCH = "feature/SHOP-1"
PULLS = "/repos/{owner}/{repo}/pulls"
REVIEWS = PULLS + "/{pull_number}/reviews"
MARKER = "<!-- sdlc-agents 1 1 -->"


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
async def client(github: GitHub) -> AsyncIterator[httpx.AsyncClient]:
    async with running(github) as connected:
        yield connected


@pytest.fixture
async def forge(client: httpx.AsyncClient) -> Forge:
    return await connection.connect(URL, FINE_GRAINED, client)


def text(*, base: str = "main", draft: bool = False, reviewers: tuple[str, ...] = ()) -> PullRequestText:
    return PullRequestText(BRANCH, base, "[SHOP-1] Better", "Because.", draft, reviewers)


def test_git_is_told_the_token_for_the_web_host_alone(forge: Forge) -> None:
    assert forge.clone_url == "https://github.com/demo/shop.git"
    assert forge.credentials == Credentials("https://github.com", "x-access-token", FINE_GRAINED)


@pytest.mark.parametrize("token", [CLASSIC, FINE_GRAINED])
async def test_a_pull_request_is_opened_once_however_often_it_is_asked_for(
    github: GitHub, client: httpx.AsyncClient, token: str
) -> None:
    forge = await connection.connect(URL, token, client)
    first = await forge.ensure_pull_request(text())
    again = await forge.ensure_pull_request(text())
    assert (first.created, again.created) == (True, False)
    assert first.url == again.url == "https://github.com/demo/shop/pull/1"
    (pull,) = github.pulls
    assert (pull["title"], pull["body"], pull["head"], pull["base"], pull["draft"]) == (
        "[SHOP-1] Better",
        "Because.",
        BRANCH,
        "main",
        False,
    )


@pytest.mark.parametrize("unique", [True, False])
async def test_two_who_ask_at_once_get_the_same_one(github: GitHub, forge: Forge, unique: bool) -> None:  # noqa: FBT001
    github.unique = unique
    github.opening = Together(1 if unique else 2)
    one, other = await asyncio.gather(forge.ensure_pull_request(text()), forge.ensure_pull_request(text()))
    assert one.number == other.number == 1
    assert sorted([one.created, other.created]) == [False, True]
    assert [pull["number"] for pull in github.pulls if pull["state"] == "open"] == [1]


async def test_a_base_branch_with_a_slash_is_found_again(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text(base="release/1"))
    assert not (await forge.ensure_pull_request(text(base="release/1"))).created
    assert len(github.pulls) == 1


async def test_after_a_closed_pull_request_a_new_one_is_opened(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    github.pulls[0]["state"] = "closed"
    second = await forge.ensure_pull_request(text())
    assert (second.number, second.created) == (2, True)


@pytest.mark.parametrize("owner", ["stranger", "demo"])
async def test_a_pull_request_from_a_fork_is_nobodys_here(github: GitHub, forge: Forge, owner: str) -> None:
    for _ in range(35):
        github.open_from_fork(BRANCH, "main", owner=owner)
    made = await forge.ensure_pull_request(text())
    again = await forge.ensure_pull_request(text())
    assert (made.number, made.created, again.number, again.created) == (36, True, 36, False)
    assert {pull["state"] for pull in github.pulls} == {"open"}


async def test_a_pull_request_from_a_fork_that_was_deleted_is_nobodys_here(github: GitHub, forge: Forge) -> None:
    shown = {"number": 1, "html_url": "https://github.com/demo/shop/pull/1"}
    left = {**shown, "head": {"repo": None}, "base": {"repo": {"id": REPOSITORY}}}
    github.open_from_fork(BRANCH, "main", owner="demo")
    github.faults["GET", PULLS] = lambda: JSONResponse([left])
    made = await forge.ensure_pull_request(text())
    assert (made.number, made.created) == (2, True)


async def test_long_texts_are_cut(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(PullRequestText(BRANCH, "main", "x" * 1000, "y" * 70_000))
    assert (len(github.pulls[0]["title"]), len(github.pulls[0]["body"])) == (256, 65_536)


async def test_a_draft_is_opened_as_one(github: GitHub, forge: Forge) -> None:
    assert (await forge.ensure_pull_request(text(draft=True))).created
    assert github.pulls[0]["draft"] is True


async def test_where_drafts_are_not_to_be_had_a_plain_one_is_opened(github: GitHub, forge: Forge) -> None:
    github.drafts = False
    assert (await forge.ensure_pull_request(text(draft=True))).created
    assert github.pulls[0]["draft"] is False
    assert not (await forge.ensure_pull_request(text(draft=True))).created


async def test_a_reviewer_who_is_refused_is_left_out_and_logged(github: GitHub, forge: Forge) -> None:
    with capture_logs() as logs:
        made = await forge.ensure_pull_request(text(reviewers=("alice", "stranger", "sdlc-bot", "bob")))
    assert made.created
    assert github.pulls[0]["reviewers"] == ["alice", "bob"]
    assert [entry["reviewer"] for entry in logs if entry["event"] == "reviewer_left_out"] == ["stranger", "sdlc-bot"]
    assert FINE_GRAINED not in str(logs)


async def test_reviews_are_requested_of_a_new_pull_request_alone(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text(reviewers=("alice",)))
    github.pulls[0]["reviewers"] = []
    await forge.ensure_pull_request(text(reviewers=("alice",)))
    assert github.pulls[0]["reviewers"] == []


async def test_a_fault_while_reviews_are_requested_does_not_fail_the_run(github: GitHub, forge: Forge) -> None:
    path = f"{PULLS}/{{pull_number}}/requested_reviewers"
    github.faults["POST", path] = lambda: JSONResponse({"message": "Server Error"}, 502)
    assert (await forge.ensure_pull_request(text(reviewers=("alice",)))).created


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (GitHubToken(rights={"metadata": "read", "contents": "write"}), '"Pull requests: write"'),
        (GitHubToken(rights={"contents": "write", "pull_requests": "read"}), '"Pull requests: write"'),
        (GitHubToken(scopes=("repo",), push=False), "a classic one the scope repo"),
        (GitHubToken(scopes=("gist",)), "a classic token needs the scope repo"),
        (GitHubToken(scopes=("repo",), single_sign_on=True), "authorized for its organization's single sign-on"),
    ],
)
async def test_the_right_that_a_token_lacks_is_named(
    github: GitHub, client: httpx.AsyncClient, token: GitHubToken, expected: str
) -> None:
    github.tokens["lacking"] = token
    forge = await connection.connect(URL, "lacking", client)
    with pytest.raises(ForgeError, match=expected) as caught:
        await forge.ensure_pull_request(text())
    assert not isinstance(caught.value, ForgeUnavailableError)


async def test_a_wrong_token_is_said_to_be_wrong_and_not_repeated(client: httpx.AsyncClient) -> None:
    forge = await connection.connect(URL, "ghp_wrong", client)
    with pytest.raises(ForgeError, match="git_access_token is not valid") as caught:
        await forge.ensure_pull_request(text())
    assert "ghp_wrong" not in caught.value.message + repr(forge)


async def test_a_repository_that_is_not_seen_is_said_to_be_missing(client: httpx.AsyncClient) -> None:
    forge = await connection.connect("https://github.com/demo/other", CLASSIC, client)
    with pytest.raises(ForgeError, match="demo/other: the repository does not exist there"):
        await forge.ensure_pull_request(text())


async def test_a_base_branch_that_is_missing_is_named_by_what_the_forge_says(forge: Forge) -> None:
    with pytest.raises(ForgeError, match="base is invalid"):
        await forge.ensure_pull_request(text(base="develop"))


async def test_an_archived_repository_is_said_to_be(github: GitHub, forge: Forge) -> None:
    github.repository["archived"] = True
    with pytest.raises(ForgeError, match="archived and takes no changes"):
        await forge.ensure_pull_request(text())


async def test_a_page_in_the_place_of_an_answer_is_an_error(github: GitHub, forge: Forge) -> None:
    github.faults["POST", PULLS] = lambda: HTMLResponse("<html>", 201)
    with pytest.raises(ForgeError, match="login page"):
        await forge.ensure_pull_request(text())


async def test_a_pull_request_that_was_closed_meanwhile_may_be_asked_for_again(github: GitHub, forge: Forge) -> None:
    document = {"message": "A pull request already exists for demo:feature/SHOP-1.", "documentation_url": ""}
    github.faults["POST", PULLS] = lambda: JSONResponse(document, 422)
    with pytest.raises(ForgeUnavailableError, match="does not list"):
        await forge.ensure_pull_request(text())


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (403, {"retry_after": "120"}, 120),
        (429, {"retry_after": "30"}, 30),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "in 600"}, 600),
        (429, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "in 900"}, 900),
        (403, {}, 60),
    ],
)
async def test_a_rate_limit_is_said_with_its_end(
    github: GitHub, forge: Forge, status: int, headers: dict[str, str], seconds: int
) -> None:
    start = now()
    given = {
        name: str(int(start.timestamp()) + int(value[3:])) if value.startswith("in ") else value
        for name, value in headers.items()
    }
    github.faults["POST", PULLS] = lambda: rate_limited(status, **given)
    with pytest.raises(ForgeUnavailableError, match="takes no more requests") as caught:
        await forge.ensure_pull_request(text())
    moments = {f"{start + timedelta(seconds=seconds + off):%Y-%m-%d %H:%M:%S} UTC" for off in range(-1, 20)}
    assert any(moment in caught.value.message for moment in moments)


async def test_whose_a_token_is_is_asked_once(github: GitHub, client: httpx.AsyncClient) -> None:
    github.tokens["other"] = GitHubToken(login="other-bot", scopes=("repo",))
    await (await connection.connect(URL, CLASSIC, client)).ensure_pull_request(text())
    found = []
    for token in (CLASSIC, "other", CLASSIC, "other"):
        forge = await connection.connect(URL, token, client)
        found.append((await forge.conversation(1)).bot)
        await forge.comment(1, "Done.", MARKER)
    assert found == ["sdlc-bot", "other-bot", "sdlc-bot", "other-bot"]
    assert github.count("GET", "/user") == 2


async def test_what_has_not_changed_costs_nothing_of_the_rate_limit(github: GitHub, client: httpx.AsyncClient) -> None:
    forge = await connection.connect(URL, CLASSIC, client)
    await forge.ensure_pull_request(text())
    first = await forge.conversation(1)
    github.quota = Quota(100, int(now().timestamp()) + 600, used=90)
    again = await (await connection.connect(URL, CLASSIC, client)).conversation(1)
    assert (again.comments, again.head_commit, again.rests_until is None) == ((), first.head_commit, False)
    assert github.quota.used == 90
    github.remarks = [
        {"id": 1, "user": github.user("alice"), "body": "Hello.", "created_at": "2026-03-01T00:00:00Z"},
    ]
    assert await said(forge) == [("alice", "Hello.")]
    assert github.quota.used == 91


async def test_what_one_token_may_see_is_kept_for_no_other(github: GitHub, client: httpx.AsyncClient) -> None:
    forge = await connection.connect(URL, CLASSIC, client)
    await forge.ensure_pull_request(text())
    await forge.conversation(1)
    github.tokens["other"] = GitHubToken(scopes=("gist",))
    other = await connection.connect(URL, "other", client)
    before = len(github.asked)
    with pytest.raises(ForgeError, match="may not see it"):
        await other.conversation(1)
    assert all("if-none-match" not in asked.headers for asked in github.asked[before:])


@pytest.mark.parametrize(("remaining", "rests"), [(1001, False), (999, True)])
async def test_a_conversation_tells_when_little_of_the_rate_limit_is_left(
    github: GitHub,
    forge: Forge,
    remaining: int,
    rests: bool,  # noqa: FBT001
) -> None:
    await forge.ensure_pull_request(text())
    reset = int(now().timestamp()) + 600
    github.quota = Quota(5000, reset, used=5000 - remaining - 1)
    expected = datetime.fromtimestamp(reset, UTC) if rests else None
    assert (await forge.conversation(1)).rests_until == expected


async def test_a_forge_with_a_fault_may_be_asked_again(github: GitHub, forge: Forge) -> None:
    github.faults["POST", PULLS] = lambda: JSONResponse({"message": "Server Error"}, 503)
    with pytest.raises(ForgeUnavailableError, match="503"):
        await forge.ensure_pull_request(text())


async def test_the_token_is_not_carried_along_a_redirect(github: GitHub, forge: Forge) -> None:
    github.faults["POST", PULLS] = lambda: RedirectResponse("https://elsewhere.example/pulls", 307)
    before = len(github.asked)
    with pytest.raises(ForgeError, match="has moved"):
        await forge.ensure_pull_request(text())
    assert len(github.asked) == before + 1


async def test_an_enterprise_server_is_spoken_to_below_its_own_name() -> None:
    github = GitHub(ENTERPRISE)
    async with running(github) as client:
        forge = await connection.connect(f"https://{ENTERPRISE}/demo/shop.git", CLASSIC, client, ForgeKind.GITHUB)
        made = await forge.ensure_pull_request(text(reviewers=("alice",)))
        assert await forge.check("release/1") == []
    assert made.url == f"https://{ENTERPRISE}/demo/shop/pull/1"
    assert forge.credentials.origin == f"https://{ENTERPRISE}"
    assert {asked.path.split("/repos/")[0] for asked in github.asked if "/repos/" in asked.path} == {"/api/v3"}


async def test_a_tenant_of_ghe_com_has_its_api_on_a_host_of_its_own() -> None:
    github = GitHub()
    github.hosts = {"api.octo.ghe.com", "octo.ghe.com"}
    async with running(github) as client:
        forge = await connection.connect("https://octo.ghe.com/demo/shop", CLASSIC, client)
        assert (await forge.ensure_pull_request(text())).created
    assert {asked.host for asked in github.asked} == {"api.octo.ghe.com"}


async def test_the_conversation_is_read_to_its_last_page_and_in_order(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    github.remarks = [
        {
            "id": n,
            "user": github.user("alice"),
            "body": f"remark {n}",
            "created_at": f"2026-03-01T{n // 60:02}:{n % 60:02}:00Z",
        }
        for n in range(250)
    ]
    github.remarks.append(
        {"id": 1000, "user": github.user("sdlc-bot"), "body": "mine", "created_at": "2026-03-02T00:00:00Z"}
    )
    github.line_remarks = [
        {
            "id": 7,
            "user": github.user("bob"),
            "body": "here",
            "created_at": "2026-03-03T00:00:00Z",
            "path": "src/shop.py",
            "original_line": 12,
        }
    ]
    review = {"user": github.user("bob"), "commit_id": "a" * 40}
    github.reviews = [
        {"id": 1, "state": "CHANGES_REQUESTED", "body": "", "submitted_at": "2026-03-03T00:00:01Z", **review},
        {"id": 2, "state": "COMMENTED", "body": "", "submitted_at": "2026-03-03T00:00:02Z", **review},
        {"id": 3, "state": "APPROVED", "body": "fine", "submitted_at": "2026-02-03T00:00:02Z", **review, "user": None},
        {"id": 4, "state": "PENDING", "body": "not yet", **review},
    ]
    conversation = await forge.conversation(1)
    assert (conversation.open, conversation.head_commit, conversation.bot) == (True, "a" * 40, "sdlc-bot")
    comments = conversation.comments
    assert [comment.at for comment in comments] == sorted(comment.at for comment in comments)
    assert (comments[0].author, comments[0].body, comments[0].requests_changes) == ("ghost", "fine", False)
    assert [comment.body for comment in comments[1:251]] == [f"remark {n}" for n in range(250)]
    assert [(comment.author, comment.body) for comment in comments[251:]] == [
        ("sdlc-bot", "mine"),
        ("bob", "here"),
        ("bob", ""),
    ]
    on_line, asking = comments[-2:]
    assert (on_line.path, on_line.line, on_line.requests_changes) == ("src/shop.py", 12, False)
    assert asking == Comment("review-1", "bob", "", asking.at, requests_changes=True)
    assert len({comment.id for comment in comments}) == len(comments)


@pytest.mark.parametrize(
    ("states", "requesting"),
    [
        ("CHANGES_REQUESTED APPROVED", []),
        ("CHANGES_REQUESTED CHANGES_REQUESTED DISMISSED", []),
        ("CHANGES_REQUESTED APPROVED CHANGES_REQUESTED COMMENTED", ["review 3"]),
        ("CHANGES_REQUESTED CHANGES_REQUESTED", ["review 1", "review 2"]),
        ("APPROVED CHANGES_REQUESTED", ["review 2"]),
    ],
)
async def test_who_approved_after_all_requests_no_changes(
    github: GitHub, forge: Forge, states: str, requesting: list[str]
) -> None:
    await forge.ensure_pull_request(text())
    github.reviews = [
        {
            "id": n,
            "state": state,
            "body": f"review {n}",
            "user": github.user("bob"),
            "commit_id": "a" * 40,
            "submitted_at": f"2026-03-03T00:00:0{n}Z",
        }
        for n, state in enumerate(states.split(), 1)
    ]
    nobodys_business = {**github.reviews[0], "id": 9, "state": "APPROVED", "body": "", "user": github.user("alice")}
    github.reviews.append(nobodys_business | {"submitted_at": "2026-03-03T00:00:09Z"})
    comments = (await forge.conversation(1)).comments
    assert [comment.body for comment in comments] == [f"review {n}" for n in range(1, len(states.split()) + 1)]
    assert [comment.body for comment in comments if comment.requests_changes] == requesting


async def test_a_closed_pull_requests_conversation_says_so(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    github.pulls[0]["state"] = "closed"
    assert not (await forge.conversation(1)).open


async def said(forge: Forge) -> list[tuple[str, str]]:
    return [(comment.author, comment.body) for comment in (await forge.conversation(1)).comments]


@pytest.mark.parametrize("token", [CLASSIC, FINE_GRAINED])
async def test_the_bot_says_a_thing_once_and_as_it_was_given(client: httpx.AsyncClient, token: str) -> None:
    forge = await connection.connect(URL, token, client)
    await forge.ensure_pull_request(text())
    for _ in range(2):
        await forge.comment(1, "Done, @kim.\n\n```\n@app.get\n```", MARKER)
    await forge.comment(1, "Done again.", "<!-- sdlc-agents 1 2 -->")
    assert await said(forge) == [
        ("sdlc-bot", f"Done, @kim.\n\n```\n@app.get\n```\n\n{MARKER}"),
        ("sdlc-bot", "Done again.\n\n<!-- sdlc-agents 1 2 -->"),
    ]


async def test_what_the_bot_said_is_found_on_every_page_and_nobody_elses_marker_counts(
    github: GitHub, forge: Forge
) -> None:
    await forge.ensure_pull_request(text())
    facts = {"commit_id": "a" * 40, "submitted_at": "2026-03-03T00:00:01Z"}
    github.reviews = [
        {"id": n, "state": "COMMENTED", "body": f"I know it: {MARKER}", "user": github.user("alice"), **facts}
        for n in range(130)
    ]
    github.reviews.append({"id": 200, "state": "COMMENTED", "body": f"Gone. {MARKER}", **facts, "user": None})
    await forge.comment(1, "Done.", MARKER)
    await forge.comment(1, "Done.", MARKER)
    assert [body for author, body in await said(forge) if author == "sdlc-bot"] == [f"Done.\n\n{MARKER}"]
    assert github.count("POST", "/reviews") == 1


async def test_what_the_bot_did_not_submit_it_has_not_said(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    pending = {"id": 1, "state": "PENDING", "body": MARKER, "user": github.user("sdlc-bot"), "commit_id": "a" * 40}
    github.reviews = [pending]
    await forge.comment(1, "Done.", MARKER)
    assert await said(forge) == [("sdlc-bot", f"Done.\n\n{MARKER}")]


async def test_a_long_comment_is_cut_before_its_marker(forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    for _ in range(2):
        await forge.comment(1, "y" * 70_000, MARKER)
    ((_, body),) = await said(forge)
    assert (len(body), body[-len(MARKER) - 4 :]) == (65_536, f"yy\n\n{MARKER}")


async def test_a_closed_pull_request_can_be_answered(github: GitHub, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    github.pulls[0]["state"] = "closed"
    await forge.comment(1, "Too late.", MARKER)
    assert await said(forge) == [("sdlc-bot", f"Too late.\n\n{MARKER}")]


async def test_the_right_that_an_answer_needs_is_named(github: GitHub, client: httpx.AsyncClient, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    github.tokens["lacking"] = GitHubToken(rights={"contents": "write", "pull_requests": "read"})
    lacking = await connection.connect(URL, "lacking", client)
    with pytest.raises(ForgeError, match='lacks the right "Pull requests: write"') as caught:
        await lacking.comment(1, "Done.", MARKER)
    assert not isinstance(caught.value, ForgeUnavailableError)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_a_fault_stopped_may_be_given_again(github: GitHub, forge: Forge, method: str) -> None:
    await forge.ensure_pull_request(text())
    github.faults[method, REVIEWS] = lambda: JSONResponse({"message": "Server Error"}, 502)
    with pytest.raises(ForgeUnavailableError, match="502"):
        await forge.comment(1, "Done.", MARKER)
    github.faults.clear()
    await forge.comment(1, "Done.", MARKER)
    assert await said(forge) == [("sdlc-bot", f"Done.\n\n{MARKER}")]
