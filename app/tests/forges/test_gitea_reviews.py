"""Drafts, reviewers and what is said on pull requests, on a real Gitea."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Forge, ForgeError, ProblemCode, PullRequestText
from support.lab import Gitea, GiteaRepository

BRANCH = "feature/SHOP-1"
MARKER = "<!-- sdlc-agents 1 1 -->"


@pytest.fixture
async def client(gitea: Gitea) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=gitea.ca_file)
    async with httpx.AsyncClient(verify=context, trust_env=False) as connected:
        yield connected


@pytest.fixture
async def repository(gitea: Gitea) -> GiteaRepository:
    made = await gitea.make_repository()
    await made.commit({"x.py": "one\ntwo\nthree\n"}, new_branch=BRANCH)
    return made


@pytest.fixture
async def forge(repository: GiteaRepository, client: httpx.AsyncClient) -> Forge:
    return await connection.connect(repository.url, repository.gitea.bot_token, client)


async def opened(forge: Forge, **given: Any) -> int:
    text = PullRequestText(BRANCH, "main", "[SHOP-1] Better", "Because.", **given)
    return (await forge.ensure_pull_request(text)).number


async def test_a_draft_is_one_for_gitea_too_and_is_found_again(forge: Forge, repository: GiteaRepository) -> None:
    number = await opened(forge, draft=True)
    (shown,) = await repository.pull_requests()
    assert (shown["draft"], shown["title"]) == (True, "WIP: [SHOP-1] Better")
    assert await opened(forge, draft=True) == number


async def test_reviewers_are_asked_and_one_that_gitea_refuses_is_left_out(
    forge: Forge, repository: GiteaRepository
) -> None:
    one, other = await repository.person(), await repository.person()
    with capture_logs() as logs:
        await opened(forge, reviewers=(one.name, "nobody-of-this-name", other.name))
    (shown,) = await repository.pull_requests()
    assert {user["login"] for user in shown["requested_reviewers"]} == {one.name, other.name}
    (refused,) = [entry for entry in logs if entry["event"] == "reviewer_refused"]
    assert refused["reviewer"] == "nobody-of-this-name"


async def test_reviewers_are_not_asked_again_when_the_pull_request_is_found(
    forge: Forge, repository: GiteaRepository
) -> None:
    person = await repository.person()
    await opened(forge)
    await opened(forge, reviewers=(person.name,))
    (shown,) = await repository.pull_requests()
    assert not shown["requested_reviewers"]


async def test_a_conversation_has_comments_reviews_and_lines_oldest_first(
    forge: Forge, repository: GiteaRepository
) -> None:
    number = await opened(forge)
    person = await repository.person()
    await person.comment(number, "First.")
    await person.review(number, "REQUEST_CHANGES", "Not yet.", rename_this=("x.py", 2))
    await (await repository.person()).review(number, "APPROVED", "")
    await person.review(number, "PENDING", "Not submitted.", nor_this=("x.py", 1))
    conversation = await forge.conversation(number)
    said = [(c.author, c.body, c.requests_changes, c.path, c.line) for c in conversation.comments]
    assert said == [
        (person.name, "First.", False, None, None),
        (person.name, "Not yet.", True, None, None),
        (person.name, "rename this", False, "x.py", 2),
    ]
    assert len({comment.id for comment in conversation.comments}) == 3
    assert (conversation.open, conversation.bot) == (True, "sdlc-bot")
    assert conversation.head_commit == await repository.head(BRANCH)


async def test_a_dismissed_review_requests_nothing_any_more(forge: Forge, repository: GiteaRepository) -> None:
    number = await opened(forge)
    person = await repository.person()
    await person.review(number, "REQUEST_CHANGES", "No.")
    (review,) = await repository.call("GET", f"/pulls/{number}/reviews")
    await repository.call("POST", f"/pulls/{number}/reviews/{review['id']}/dismissals", {"message": "was wrong"})
    (comment,) = (await forge.conversation(number)).comments
    assert not comment.requests_changes


async def test_who_approved_after_all_requests_no_changes(forge: Forge, repository: GiteaRepository) -> None:
    number = await opened(forge)
    person, other = await repository.person(), await repository.person()
    await person.review(number, "REQUEST_CHANGES", "No.")
    await other.review(number, "REQUEST_CHANGES", "Not for me.")
    await person.review(number, "APPROVED", "Well, yes.")
    comments = (await forge.conversation(number)).comments
    assert [(comment.body, comment.requests_changes) for comment in comments] == [
        ("No.", False),
        ("Not for me.", True),
        ("Well, yes.", False),
    ]


async def test_long_conversations_are_read_to_their_end(forge: Forge, repository: GiteaRepository) -> None:
    number = await opened(forge)
    person = await repository.person()
    for count in range(53):
        await person.review(number, "COMMENT", f"review {count}")
        await person.comment(number, f"comment {count}")
    bodies = {comment.body for comment in (await forge.conversation(number)).comments}
    assert bodies == {f"{kind} {count}" for kind in ("review", "comment") for count in range(53)}


async def test_a_closed_pull_request_is_told_and_can_be_answered(forge: Forge, repository: GiteaRepository) -> None:
    number = await opened(forge)
    await repository.call("PATCH", f"/pulls/{number}", {"state": "closed"})
    assert not (await forge.conversation(number)).open
    await forge.comment(number, "Too late.", MARKER)
    (comment,) = (await forge.conversation(number)).comments
    assert comment.body.startswith("Too late.")


async def test_the_bot_says_a_thing_once_whoever_else_has_its_marker(forge: Forge, repository: GiteaRepository) -> None:
    number = await opened(forge)
    person = await repository.person()
    await person.review(number, "COMMENT", f"I know how you mark it. {MARKER}")
    for _ in range(2):
        await forge.comment(number, "Done.", MARKER)
    await forge.comment(number, "Done again.", "<!-- sdlc-agents 1 2 -->")
    said = [comment.body for comment in (await forge.conversation(number)).comments if comment.author == "sdlc-bot"]
    assert said == [f"Done.\n\n{MARKER}", "Done again.\n\n<!-- sdlc-agents 1 2 -->"]


@pytest.mark.parametrize(
    ("scopes", "right"),
    [(("write:repository", "read:user"), "read:issue"), (("write:repository", "read:issue"), "read:user")],
    ids=["read:issue", "read:user"],
)
async def test_a_scope_that_reading_reviews_needs_is_named(
    gitea: Gitea, client: httpx.AsyncClient, forge: Forge, repository: GiteaRepository, scopes: Any, right: str
) -> None:
    number = await opened(forge)
    name, token = await gitea.make_user(*scopes)
    await repository.call("PUT", f"/collaborators/{name}", {"permission": "write"})
    lacking = await connection.connect(repository.url, token, client)
    with pytest.raises(ForgeError, match=f"lacks the right {right}"):
        await lacking.conversation(number)
    assert await lacking.check(None) == []
    (problem,) = await lacking.check(None, follow_ups=True)
    assert problem.code == ProblemCode.NO_REVIEW_RIGHT
    assert right in problem.message


async def test_a_token_with_every_scope_can_do_follow_ups(forge: Forge) -> None:
    assert await forge.check(None, follow_ups=True) == []
