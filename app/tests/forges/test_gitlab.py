"""Merge requests on a stand-in for GitLab that keeps what GitLab documents of its API."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response
from structlog.testing import capture_logs

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Comment, Forge, ForgeError, ForgeKind, ForgeUnavailableError, PullRequestText
from sdlc_agents.git.command import Credentials
from sdlc_agents.kernel.clock import now
from support.gitlab import TOKEN, GitLab, GitLabToken
from support.standins import Together, running

BRANCH = "feature/SHOP-1"
REQUESTS = "/projects/{id}/merge_requests"
NOTES = REQUESTS + "/{merge_request_iid}/notes"
MARKER = "<!-- sdlc-agents 1 1 -->"


@pytest.fixture
def gitlab() -> GitLab:
    return GitLab(path="demo/web/front/shop")


@pytest.fixture
async def client(gitlab: GitLab) -> AsyncIterator[httpx.AsyncClient]:
    async with running(gitlab) as connected:
        yield connected


@pytest.fixture
async def forge(client: httpx.AsyncClient) -> Forge:
    return await connection.connect("https://gitlab.com/demo/web/front/shop.git", TOKEN, client)


def text(
    *, base: str = "main", title: str = "[SHOP-1] Better", draft: bool = False, reviewers: tuple[str, ...] = ()
) -> PullRequestText:
    return PullRequestText(BRANCH, base, title, "Because.", draft, reviewers)


def test_git_is_told_the_token_and_all_groups_of_the_path(forge: Forge) -> None:
    assert forge.clone_url == "https://gitlab.com/demo/web/front/shop.git"
    assert forge.credentials == Credentials("https://gitlab.com", "oauth2", TOKEN)


async def test_a_merge_request_is_opened_once_however_often_it_is_asked_for(gitlab: GitLab, forge: Forge) -> None:
    first = await forge.ensure_pull_request(text())
    again = await forge.ensure_pull_request(text())
    assert (first.created, again.created) == (True, False)
    assert first.url == again.url == "https://gitlab.com/demo/web/front/shop/-/merge_requests/1"
    (request,) = gitlab.requests
    assert (request["title"], request["description"]) == ("[SHOP-1] Better", "Because.")
    assert (request["source_branch"], request["target_branch"]) == (BRANCH, "main")
    assert {asked.path.split("/")[4] for asked in gitlab.asked} == {"demo%2Fweb%2Ffront%2Fshop"}


@pytest.mark.parametrize("unique", [True, False])
async def test_two_who_ask_at_once_get_the_same_one(gitlab: GitLab, forge: Forge, unique: bool) -> None:  # noqa: FBT001
    gitlab.unique = unique
    gitlab.opening = Together(1 if unique else 2)
    one, other = await asyncio.gather(forge.ensure_pull_request(text()), forge.ensure_pull_request(text()))
    assert one.number == other.number == 1
    assert sorted([one.created, other.created]) == [False, True]
    assert [request["iid"] for request in gitlab.requests if request["state"] == "opened"] == [1]


async def test_a_target_branch_with_a_slash_is_found_again(gitlab: GitLab, forge: Forge) -> None:
    await forge.ensure_pull_request(text(base="release/1"))
    assert not (await forge.ensure_pull_request(text(base="release/1"))).created
    assert len(gitlab.requests) == 1


async def test_after_a_closed_merge_request_a_new_one_is_opened(gitlab: GitLab, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    gitlab.requests[0]["state"] = "closed"
    second = await forge.ensure_pull_request(text())
    assert (second.number, second.created) == (2, True)


async def test_a_merge_request_from_a_fork_is_nobodys_here(gitlab: GitLab, forge: Forge) -> None:
    for _ in range(25):
        gitlab.open_from_fork(BRANCH, "main")
    made = await forge.ensure_pull_request(text())
    again = await forge.ensure_pull_request(text())
    assert (made.number, made.created, again.number, again.created) == (26, True, 26, False)
    assert {request["state"] for request in gitlab.requests} == {"opened"}


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("[SHOP-1] Better", "Draft: [SHOP-1] Better"),
        ("draft: [SHOP-1] Better", "draft: [SHOP-1] Better"),
        ("x" * 300, "Draft: " + "x" * 248),
    ],
)
async def test_a_draft_is_told_by_its_title(gitlab: GitLab, forge: Forge, title: str, shown: str) -> None:
    await forge.ensure_pull_request(text(title=title, draft=True))
    assert gitlab.requests[0]["title"] == shown


async def test_a_reviewer_who_is_unknown_is_left_out_and_logged(gitlab: GitLab, forge: Forge) -> None:
    with capture_logs() as logs:
        assert (await forge.ensure_pull_request(text(reviewers=("alice", "stranger", "bob")))).created
    assert gitlab.requests[0]["reviewers"] == ["alice", "bob"]
    assert [entry["reviewer"] for entry in logs if entry["event"] == "reviewer_left_out"] == ["stranger"]
    assert TOKEN not in str(logs)


async def test_a_reviewer_whom_gitlab_passes_over_is_logged(gitlab: GitLab, forge: Forge) -> None:
    gitlab.premium = False
    with capture_logs() as logs:
        assert (await forge.ensure_pull_request(text(reviewers=("alice", "bob")))).created
    assert gitlab.requests[0]["reviewers"] == ["alice"]
    assert [entry["reviewer"] for entry in logs if entry["event"] == "reviewer_left_out"] == ["bob"]


@pytest.mark.parametrize("place", [("GET", "/users"), ("PUT", REQUESTS + "/{merge_request_iid}")])
async def test_a_fault_while_reviews_are_requested_does_not_fail_the_run(
    gitlab: GitLab, forge: Forge, place: tuple[str, str]
) -> None:
    gitlab.faults[place] = lambda: JSONResponse({"message": "403 Forbidden"}, 403)
    with capture_logs() as logs:
        assert (await forge.ensure_pull_request(text(reviewers=("alice",)))).created
    assert [entry["event"] for entry in logs] == ["reviewers_left_out"]


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (GitLabToken(scopes=("read_api", "write_repository")), "the scopes api and write_repository"),
        (GitLabToken(level=20), "the role Developer"),
        (GitLabToken(level=0), "the project does not exist there, or its git_access_token may not see it"),
    ],
)
async def test_the_right_that_a_token_lacks_is_named(
    gitlab: GitLab, client: httpx.AsyncClient, token: GitLabToken, expected: str
) -> None:
    gitlab.tokens["glpat-lacking"] = token
    forge = await connection.connect("https://gitlab.com/demo/web/front/shop", "glpat-lacking", client)
    with pytest.raises(ForgeError, match=expected) as caught:
        await forge.ensure_pull_request(text())
    assert not isinstance(caught.value, ForgeUnavailableError)


async def test_a_wrong_token_is_said_to_be_wrong_and_not_repeated(client: httpx.AsyncClient) -> None:
    forge = await connection.connect("https://gitlab.com/demo/web/front/shop", "glpat-wrong", client)
    with pytest.raises(ForgeError, match="git_access_token is not valid") as caught:
        await forge.ensure_pull_request(text())
    assert "glpat-wrong" not in caught.value.message + repr(forge)


async def test_a_target_branch_that_is_missing_is_named_by_what_the_forge_says(forge: Forge) -> None:
    with pytest.raises(ForgeError, match="target_branch: does not exist"):
        await forge.ensure_pull_request(text(base="develop"))


@pytest.mark.parametrize(("header", "seconds"), [("Retry-After", 45), ("RateLimit-Reset", 600)])
async def test_a_rate_limit_is_said_with_its_end(gitlab: GitLab, forge: Forge, header: str, seconds: int) -> None:
    start = now()
    value = str(seconds) if header == "Retry-After" else str(int(start.timestamp()) + seconds)
    gitlab.faults["POST", REQUESTS] = lambda: Response("Retry later\n", 429, {header: value})
    with pytest.raises(ForgeUnavailableError, match="takes no more requests") as caught:
        await forge.ensure_pull_request(text())
    moments = {f"{start + timedelta(seconds=seconds + off):%Y-%m-%d %H:%M:%S} UTC" for off in range(-1, 20)}
    assert any(moment in caught.value.message for moment in moments)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_forge_with_a_fault_may_be_asked_again(gitlab: GitLab, forge: Forge, status: int) -> None:
    gitlab.faults["POST", REQUESTS] = lambda: Response("", status)
    with pytest.raises(ForgeUnavailableError, match=str(status)):
        await forge.ensure_pull_request(text())


async def test_the_token_is_not_carried_along_a_redirect(gitlab: GitLab, forge: Forge) -> None:
    gitlab.faults["POST", REQUESTS] = lambda: RedirectResponse("https://elsewhere.example/", 302)
    with pytest.raises(ForgeError, match="has moved"):
        await forge.ensure_pull_request(text())
    assert len(gitlab.asked) == 1


async def test_a_self_managed_gitlab_is_spoken_to_below_its_own_name() -> None:
    gitlab = GitLab("code.example:8443", path="a/b/c/shop")
    async with running(gitlab) as client:
        forge = await connection.connect("https://code.example:8443/a/b/c/shop", TOKEN, client, ForgeKind.GITLAB)
        made = await forge.ensure_pull_request(text(reviewers=("alice",)))
        assert await forge.check("release/1") == []
    assert made.url == "https://code.example:8443/a/b/c/shop/-/merge_requests/1"
    assert forge.credentials.origin == "https://code.example:8443"


async def test_the_conversation_is_read_to_its_last_page_without_what_gitlab_itself_writes(
    gitlab: GitLab, forge: Forge
) -> None:
    await forge.ensure_pull_request(text())
    alice, bob, bot = gitlab.user("alice"), gitlab.user("bob"), gitlab.user("sdlc-bot")
    gitlab.notes = [
        {"id": n, "author": alice, "body": f"note {n}", "created_at": f"2026-03-01T{n // 60:02}:{n % 60:02}:00.123Z"}
        for n in range(230)
    ]
    position = {"base_sha": "b", "start_sha": "b", "head_sha": "a", "position_type": "text", "old_path": "src/old.py"}
    later = "2026-03-02T00:00:0"
    gitlab.notes += [
        {"id": 300, "author": bot, "body": "mine", "created_at": later + "0Z"},
        {"id": 301, "author": bot, "body": "added 1 commit", "created_at": later + "1Z", "system": True},
        {
            "id": 302,
            "author": bob,
            "body": "here",
            "created_at": later + "2Z",
            "type": "DiffNote",
            "position": {**position, "new_path": "src/shop.py", "old_line": None, "new_line": 12},
        },
        {"id": 303, "author": bob, "body": "requested changes", "created_at": later + "3Z", "system": True},
        {"id": 304, "author": bob, "body": "thanks", "created_at": later + "4Z"},
    ]
    gitlab.reviewers = [
        {"user": bob, "state": "requested_changes", "created_at": "2026-03-01T00:00:00Z"},
        {"user": alice, "state": "reviewed", "created_at": "2026-03-01T00:00:00Z"},
    ]
    conversation = await forge.conversation(1)
    assert (conversation.open, conversation.head_commit, conversation.bot) == (True, "a" * 40, "sdlc-bot")
    comments = conversation.comments
    assert [comment.body for comment in comments[:230]] == [f"note {n}" for n in range(230)]
    assert [(comment.author, comment.body) for comment in comments[230:]] == [
        ("sdlc-bot", "mine"),
        ("bob", "here"),
        ("bob", ""),
        ("bob", "thanks"),
    ]
    on_line, asking, after = comments[-3:]
    assert (on_line.path, on_line.line) == ("src/shop.py", 12)
    assert asking == Comment("note-303", "bob", "", asking.at, requests_changes=True)
    assert [comment.requests_changes for comment in (on_line, after)] == [False, False]


async def test_a_review_that_requests_changes_without_a_note_of_gitlabs_own_is_the_reviewers_last(
    gitlab: GitLab, forge: Forge
) -> None:
    await forge.ensure_pull_request(text())
    bob = gitlab.user("bob")
    gitlab.notes = [
        {"id": n, "author": bob, "body": f"note {n}", "created_at": f"2026-03-01T00:00:0{n}Z"} for n in (1, 2)
    ]
    gitlab.reviewers = [{"user": bob, "state": "requested_changes", "created_at": "2026-03-01T00:00:00Z"}]
    conversation = await forge.conversation(1)
    assert [(comment.body, comment.requests_changes) for comment in conversation.comments] == [
        ("note 1", False),
        ("note 2", True),
    ]


async def test_who_approved_after_all_requests_no_changes(gitlab: GitLab, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    bob = gitlab.user("bob")
    gitlab.notes = [
        {"id": n, "author": bob, "body": body, "created_at": f"2026-03-01T00:00:0{n}Z", "system": system}
        for n, (body, system) in enumerate(
            [("Not yet.", False), ("requested changes", True), ("approved this merge request", True)]
        )
    ]
    gitlab.reviewers = [{"user": bob, "state": "approved", "created_at": "2026-03-01T00:00:00Z"}]
    comments = (await forge.conversation(1)).comments
    assert [(comment.body, comment.requests_changes) for comment in comments] == [("Not yet.", False)]


@pytest.mark.parametrize("state", ["closed", "merged"])
async def test_a_merge_request_that_is_not_open_any_more_says_so(gitlab: GitLab, forge: Forge, state: str) -> None:
    await forge.ensure_pull_request(text())
    gitlab.requests[0]["state"] = state
    assert not (await forge.conversation(1)).open


async def said(forge: Forge) -> list[tuple[str, str]]:
    return [(comment.author, comment.body) for comment in (await forge.conversation(1)).comments]


async def test_the_bot_says_a_thing_once_and_as_it_was_given(forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    for _ in range(2):
        await forge.comment(1, "Done, @kim.\n\n```\n@app.get\n```", MARKER)
    await forge.comment(1, "Done again.", "<!-- sdlc-agents 1 2 -->")
    assert await said(forge) == [
        ("sdlc-bot", f"Done, @kim.\n\n```\n@app.get\n```\n\n{MARKER}"),
        ("sdlc-bot", "Done again.\n\n<!-- sdlc-agents 1 2 -->"),
    ]


async def test_what_the_bot_said_is_found_on_every_page_and_nobody_elses_marker_counts(
    gitlab: GitLab, forge: Forge
) -> None:
    await forge.ensure_pull_request(text())
    alice = gitlab.user("alice")
    gitlab.notes = [
        {"id": n, "author": alice, "body": f"I know it: {MARKER}", "created_at": "2099-03-01T00:00:00Z"}
        for n in range(130)
    ]
    await forge.comment(1, "Done.", MARKER)
    await forge.comment(1, "Done.", MARKER)
    assert [body for author, body in await said(forge) if author == "sdlc-bot"] == [f"Done.\n\n{MARKER}"]
    assert gitlab.count("POST", "/notes") == 1


async def test_a_long_note_is_cut_before_its_marker(forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    for _ in range(2):
        await forge.comment(1, "y" * 1_000_001, MARKER)
    ((_, body),) = await said(forge)
    assert (len(body), body[-len(MARKER) - 4 :]) == (1_000_000, f"yy\n\n{MARKER}")


async def test_a_merged_merge_request_can_be_answered(gitlab: GitLab, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    gitlab.requests[0]["state"] = "merged"
    await forge.comment(1, "Too late.", MARKER)
    assert await said(forge) == [("sdlc-bot", f"Too late.\n\n{MARKER}")]


async def test_the_scope_that_an_answer_needs_is_named(gitlab: GitLab, client: httpx.AsyncClient, forge: Forge) -> None:
    await forge.ensure_pull_request(text())
    gitlab.tokens["glpat-lacking"] = GitLabToken(scopes=("read_api", "write_repository"))
    lacking = await connection.connect("https://gitlab.com/demo/web/front/shop", "glpat-lacking", client)
    with pytest.raises(ForgeError, match="lacks the scopes api") as caught:
        await lacking.comment(1, "Done.", MARKER)
    assert not isinstance(caught.value, ForgeUnavailableError)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_a_fault_stopped_may_be_given_again(gitlab: GitLab, forge: Forge, method: str) -> None:
    await forge.ensure_pull_request(text())
    gitlab.faults[method, NOTES] = lambda: Response("", 502)
    with pytest.raises(ForgeUnavailableError, match="502"):
        await forge.comment(1, "Done.", MARKER)
    gitlab.faults.clear()
    await forge.comment(1, "Done.", MARKER)
    assert await said(forge) == [("sdlc-bot", f"Done.\n\n{MARKER}")]


@pytest.mark.parametrize("written", ["/merge", "Done.\n/approve", "Done.\n\n/Close now", "\r/merge\r", "/\rmerge"])
async def test_no_line_that_the_agent_wrote_is_a_command(gitlab: GitLab, forge: Forge, written: str) -> None:
    await forge.ensure_pull_request(PullRequestText(BRANCH, "main", "Better", written))
    await forge.comment(1, written, MARKER)
    shown = written.replace("/", "\u200b/")
    assert gitlab.requests[0]["description"] == shown
    assert await said(forge) == [("sdlc-bot", f"{shown}\n\n{MARKER}")]


async def test_a_slash_within_a_line_stays_as_it_is(gitlab: GitLab, forge: Forge) -> None:
    written = "See docs/api.md, and/or https://code.example/a.\n- /merge\n// why\n/* why */"
    await forge.ensure_pull_request(PullRequestText(BRANCH, "main", "Better", written))
    await forge.comment(1, written, MARKER)
    assert gitlab.requests[0]["description"] == written
    assert await said(forge) == [("sdlc-bot", f"{written}\n\n{MARKER}")]
