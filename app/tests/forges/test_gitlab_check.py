"""Checks of a project on a stand-in for GitLab."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Problem, ProblemCode, PullRequestText
from support.gitlab import TOKEN, GitLab, GitLabToken
from support.standins import running

PROJECT = "/projects/{id}"
REQUESTS = PROJECT + "/merge_requests"
NOTES = REQUESTS + "/{merge_request_iid}/notes"


@pytest.fixture
def gitlab() -> GitLab:
    return GitLab(path="demo/web/shop")


@pytest.fixture
async def client(gitlab: GitLab) -> AsyncIterator[httpx.AsyncClient]:
    async with running(gitlab) as connected:
        yield connected


async def check(
    client: httpx.AsyncClient,
    token: str = TOKEN,
    base_branch: str | None = None,
    path: str = "demo/web/shop",
    *,
    follow_ups: bool = False,
) -> list[Problem]:
    forge = await connection.connect(f"https://gitlab.com/{path}", token, client)
    problems = await forge.check(base_branch, follow_ups=follow_ups)
    assert not any(token in problem.message for problem in problems)
    return problems


async def test_a_project_that_can_be_worked_on_has_no_problem_and_is_left_as_it_is(
    gitlab: GitLab, client: httpx.AsyncClient
) -> None:
    assert await check(client) == []
    assert await check(client, base_branch="release/1") == []
    assert {asked.method for asked in gitlab.asked} == {"GET"}


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [
        (GitLabToken(scopes=("api",)), ProblemCode.NO_PUSH_RIGHT, "the scope write_repository"),
        (GitLabToken(level=20), ProblemCode.NO_PUSH_RIGHT, "the role Developer"),
        (GitLabToken(scopes=("read_api", "write_repository")), ProblemCode.NO_PULL_REQUEST_RIGHT, "the scope api"),
        (GitLabToken(scopes=("write_repository",)), ProblemCode.NO_READ_RIGHT, "give it the scope api"),
        (GitLabToken(level=0), ProblemCode.REPOSITORY_NOT_FOUND, "a member with the role Developer"),
    ],
)
async def test_each_right_that_a_token_lacks_is_named(
    gitlab: GitLab, client: httpx.AsyncClient, token: GitLabToken, code: ProblemCode, said: str
) -> None:
    gitlab.tokens["glpat-lacking"] = token
    (problem,) = await check(client, "glpat-lacking")
    assert problem.code is code
    assert said in problem.message


async def test_a_token_that_does_not_tell_its_scopes_is_judged_by_what_it_may_do(
    gitlab: GitLab, client: httpx.AsyncClient
) -> None:
    gitlab.tokens["glpat-silent"] = GitLabToken(tells=False)
    assert await check(client, "glpat-silent") == []


async def test_a_role_that_gitlab_does_not_show_is_judged_by_what_git_may_do(
    gitlab: GitLab, client: httpx.AsyncClient
) -> None:
    gitlab.tokens["glpat-hidden"] = GitLabToken(level=None)
    (problem,) = await check(client, "glpat-hidden")
    assert problem.code is ProblemCode.NO_PUSH_RIGHT
    assert gitlab.count("GET", "/info/refs") == 1


async def test_a_wrong_token_is_refused(client: httpx.AsyncClient) -> None:
    (problem,) = await check(client, "glpat-wrong")
    assert problem.code is ProblemCode.TOKEN_REFUSED


async def test_a_project_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    (problem,) = await check(client, path="demo/other/shop")
    assert problem.code is ProblemCode.REPOSITORY_NOT_FOUND
    assert "gitlab.com has no project demo/other/shop" in problem.message


@pytest.mark.parametrize("off", [{"merge_requests_enabled": False}, {"merge_requests_access_level": "disabled"}])
async def test_several_problems_are_said_at_once(
    gitlab: GitLab, client: httpx.AsyncClient, off: dict[str, object]
) -> None:
    gitlab.project |= {"archived": True, **off}
    gitlab.tokens["glpat-lacking"] = GitLabToken(scopes=("read_api",), level=20)
    assert [problem.code for problem in await check(client, "glpat-lacking", "develop")] == [
        ProblemCode.ARCHIVED,
        ProblemCode.PULL_REQUESTS_OFF,
        ProblemCode.NO_PULL_REQUEST_RIGHT,
        ProblemCode.NO_PUSH_RIGHT,
        ProblemCode.BASE_BRANCH_MISSING,
    ]


async def test_a_base_branch_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    (problem,) = await check(client, base_branch="develop")
    assert problem.code is ProblemCode.BASE_BRANCH_MISSING
    assert "has no branch develop" in problem.message


async def test_a_project_without_a_commit_has_no_base(gitlab: GitLab, client: httpx.AsyncClient) -> None:
    gitlab.project |= {"empty_repo": True, "default_branch": None}
    (problem,) = await check(client)
    assert problem.code is ProblemCode.BASE_BRANCH_MISSING
    assert "push a first one" in problem.message


async def test_a_project_that_has_moved_is_said_to_have(gitlab: GitLab, client: httpx.AsyncClient) -> None:
    gitlab.faults["GET", PROJECT] = lambda: RedirectResponse("https://gitlab.com/api/v4/projects/1", 301)
    (problem,) = await check(client)
    assert problem.code is ProblemCode.REPOSITORY_NOT_FOUND
    assert "has moved" in problem.message


@pytest.mark.parametrize("path", [PROJECT, PROJECT + "/repository/branches/{branch}"])
async def test_a_fault_or_a_rate_limit_on_the_way_is_said(gitlab: GitLab, client: httpx.AsyncClient, path: str) -> None:
    gitlab.faults["GET", path] = lambda: PlainTextResponse("", 500)
    (problem,) = await check(client)
    assert (problem.code, "500" in problem.message) == (ProblemCode.FORGE_FAILED, True)
    gitlab.faults["GET", path] = lambda: Response("Retry later\n", 429, {"Retry-After": "60"})
    (problem,) = await check(client)
    assert (problem.code, "until" in problem.message) == (ProblemCode.FORGE_FAILED, True)


async def test_what_is_no_gitlab_is_said_to_be_none(gitlab: GitLab, client: httpx.AsyncClient) -> None:
    gitlab.faults["GET", PROJECT] = lambda: PlainTextResponse("<html>")
    (problem,) = await check(client)
    assert problem.code is ProblemCode.FORGE_UNSUPPORTED


async def open_one(client: httpx.AsyncClient) -> None:
    forge = await connection.connect("https://gitlab.com/demo/web/shop", TOKEN, client)
    await forge.ensure_pull_request(PullRequestText("feature/SHOP-1", "main", "Better", "Because."))


async def test_a_token_that_can_do_all_can_do_follow_ups(gitlab: GitLab, client: httpx.AsyncClient) -> None:
    assert await check(client, follow_ups=True) == []
    assert {asked.method for asked in gitlab.asked} == {"GET"}
    await open_one(client)
    assert await check(client, follow_ups=True) == []
    assert gitlab.notes == []


@pytest.mark.parametrize("path", [REQUESTS, NOTES, "/user"])
async def test_the_scope_that_reading_reviews_needs_is_named(
    gitlab: GitLab, client: httpx.AsyncClient, path: str
) -> None:
    await open_one(client)
    gitlab.faults["GET", path] = lambda: JSONResponse({"error": "insufficient_scope", "scope": "api read_api"}, 403)
    assert await check(client) == []
    (problem,) = await check(client, follow_ups=True)
    assert problem.code is ProblemCode.NO_REVIEW_RIGHT
    assert "give it the scope api, and its owner the role Developer there, or empty the project's" in problem.message


async def test_reviews_are_no_question_where_merge_requests_are_off(gitlab: GitLab, client: httpx.AsyncClient) -> None:
    gitlab.project["merge_requests_access_level"] = "disabled"
    gitlab.faults["GET", REQUESTS] = lambda: JSONResponse({"message": "403 Forbidden"}, 403)
    (problem,) = await check(client, follow_ups=True)
    assert problem.code is ProblemCode.PULL_REQUESTS_OFF


@pytest.mark.parametrize("path", [REQUESTS, NOTES, "/user"])
async def test_a_fault_while_reviews_are_asked_for_is_said(
    gitlab: GitLab, client: httpx.AsyncClient, path: str
) -> None:
    await open_one(client)
    gitlab.faults["GET", path] = lambda: PlainTextResponse("", 500)
    (problem,) = await check(client, follow_ups=True)
    assert (problem.code, "500" in problem.message) == (ProblemCode.FORGE_FAILED, True)
