"""Checks of a repository on a stand-in for GitHub."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Problem, ProblemCode
from support.github import CLASSIC, FINE_GRAINED, GitHub, GitHubToken, rate_limited
from support.standins import running

REPOSITORY = "/repos/{owner}/{repo}"
COMMENTS = REPOSITORY + "/pulls/comments"
RIGHTS = {"metadata": "read", "contents": "write", "pull_requests": "write"}


@pytest.fixture
def github() -> GitHub:
    return GitHub()


@pytest.fixture
async def client(github: GitHub) -> AsyncIterator[httpx.AsyncClient]:
    async with running(github) as connected:
        yield connected


async def check(
    client: httpx.AsyncClient,
    token: str = FINE_GRAINED,
    base_branch: str | None = None,
    name: str = "shop",
    *,
    follow_ups: bool = False,
) -> list[Problem]:
    forge = await connection.connect(f"https://github.com/demo/{name}", token, client)
    problems = await forge.check(base_branch, follow_ups=follow_ups)
    assert not any(token in problem.message for problem in problems)
    return problems


@pytest.mark.parametrize("token", [CLASSIC, FINE_GRAINED])
async def test_a_repository_that_can_be_worked_on_has_no_problem_and_is_left_as_it_is(
    github: GitHub, client: httpx.AsyncClient, token: str
) -> None:
    assert await check(client, token) == []
    assert await check(client, token, "release/1") == []
    assert github.pulls == []


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [
        (GitHubToken(rights=RIGHTS | {"contents": "read"}), ProblemCode.NO_PUSH_RIGHT, '"Contents: write"'),
        (GitHubToken(rights=RIGHTS, push=False), ProblemCode.NO_PUSH_RIGHT, "the role Write"),
        (GitHubToken(scopes=("repo",), push=False), ProblemCode.NO_PUSH_RIGHT, "the role Write"),
        (
            GitHubToken(rights=RIGHTS | {"pull_requests": "read"}),
            ProblemCode.NO_PULL_REQUEST_RIGHT,
            '"Pull requests: write"',
        ),
        (GitHubToken(scopes=("gist",)), ProblemCode.REPOSITORY_NOT_FOUND, "the scope repo"),
        (GitHubToken(), ProblemCode.REPOSITORY_NOT_FOUND, "a fine-grained one must name the repository"),
        (GitHubToken(scopes=("repo",), single_sign_on=True), ProblemCode.NO_READ_RIGHT, "single sign-on of demo"),
    ],
)
async def test_each_right_that_a_token_lacks_is_named(
    github: GitHub, client: httpx.AsyncClient, token: GitHubToken, code: ProblemCode, said: str
) -> None:
    github.tokens["lacking"] = token
    (problem,) = await check(client, "lacking")
    assert problem.code is code
    assert said in problem.message


async def test_a_classic_token_with_another_scope_on_a_public_repository_cannot_push(
    github: GitHub, client: httpx.AsyncClient
) -> None:
    shown = github.contract.example("full-repository", default_branch="main") | {"permissions": {"push": True}}
    github.faults["GET", REPOSITORY] = lambda: JSONResponse(shown, headers={"X-OAuth-Scopes": "gist, read:org"})
    problems = await check(client, CLASSIC)
    assert [problem.code for problem in problems] == [ProblemCode.NO_PUSH_RIGHT]
    assert "give the token the scope repo" in problems[0].message


async def test_a_wrong_token_is_refused(client: httpx.AsyncClient) -> None:
    (problem,) = await check(client, "ghp_wrong")
    assert problem.code is ProblemCode.TOKEN_REFUSED


async def test_a_repository_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    (problem,) = await check(client, name="other")
    assert problem.code is ProblemCode.REPOSITORY_NOT_FOUND
    assert "github.com has no repository demo/other" in problem.message


async def test_several_problems_are_said_at_once(github: GitHub, client: httpx.AsyncClient) -> None:
    github.repository |= {"archived": True, "has_pull_requests": False}
    github.tokens["lacking"] = GitHubToken(rights=RIGHTS, push=False)
    assert [problem.code for problem in await check(client, "lacking", "develop")] == [
        ProblemCode.ARCHIVED,
        ProblemCode.PULL_REQUESTS_OFF,
        ProblemCode.NO_PUSH_RIGHT,
        ProblemCode.BASE_BRANCH_MISSING,
    ]


async def test_a_base_branch_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    (problem,) = await check(client, base_branch="develop")
    assert problem.code is ProblemCode.BASE_BRANCH_MISSING
    assert "has no branch develop" in problem.message


async def test_a_repository_without_a_commit_has_no_base(github: GitHub, client: httpx.AsyncClient) -> None:
    github.branches.clear()
    (problem,) = await check(client)
    assert problem.code is ProblemCode.BASE_BRANCH_MISSING
    assert "push a first one" in problem.message


async def test_a_repository_that_has_moved_is_said_to_have(github: GitHub, client: httpx.AsyncClient) -> None:
    github.faults["GET", REPOSITORY] = lambda: RedirectResponse("https://api.github.com/repositories/1", 301)
    (problem,) = await check(client)
    assert problem.code is ProblemCode.REPOSITORY_NOT_FOUND
    assert "has moved" in problem.message


@pytest.mark.parametrize(
    ("path", "method"),
    [(REPOSITORY, "GET"), (REPOSITORY + "/branches/{branch}", "GET"), (REPOSITORY + "/pulls", "POST")],
)
async def test_a_fault_or_a_rate_limit_on_the_way_is_said(
    github: GitHub, client: httpx.AsyncClient, path: str, method: str
) -> None:
    github.faults[method, path] = lambda: PlainTextResponse("", 500)
    (problem,) = await check(client)
    assert (problem.code, "500" in problem.message) == (ProblemCode.FORGE_FAILED, True)
    github.faults[method, path] = lambda: rate_limited(403, retry_after="60")
    (problem,) = await check(client)
    assert (problem.code, "until" in problem.message) == (ProblemCode.FORGE_FAILED, True)


async def test_what_is_no_github_is_said_to_be_none(github: GitHub, client: httpx.AsyncClient) -> None:
    github.faults["GET", REPOSITORY] = lambda: PlainTextResponse("<html>")
    (problem,) = await check(client)
    assert problem.code is ProblemCode.FORGE_UNSUPPORTED


@pytest.mark.parametrize("token", [CLASSIC, FINE_GRAINED])
async def test_a_token_that_can_do_all_can_do_follow_ups(github: GitHub, client: httpx.AsyncClient, token: str) -> None:
    assert await check(client, token, follow_ups=True) == []
    assert (github.pulls, github.reviews) == ([], [])


async def test_the_right_that_reading_reviews_needs_is_named(github: GitHub, client: httpx.AsyncClient) -> None:
    github.tokens["lacking"] = GitHubToken(rights={"metadata": "read", "contents": "write"})
    assert [problem.code for problem in await check(client, "lacking")] == [ProblemCode.NO_PULL_REQUEST_RIGHT]
    opening, reviews = await check(client, "lacking", follow_ups=True)
    assert opening.code is ProblemCode.NO_PULL_REQUEST_RIGHT
    assert reviews.code is ProblemCode.NO_REVIEW_RIGHT
    assert 'give it the right "Pull requests: write", or empty the project\'s' in reviews.message


async def test_a_token_whose_owner_github_does_not_tell_cannot_do_follow_ups(
    github: GitHub, client: httpx.AsyncClient
) -> None:
    github.faults["GET", "/user"] = lambda: JSONResponse({"message": "Resource not accessible by integration"}, 403)
    assert await check(client) == []
    (problem,) = await check(client, follow_ups=True)
    assert problem.code is ProblemCode.NO_REVIEW_RIGHT
    assert "take a token of a user" in problem.message


async def test_reviews_are_no_question_where_pull_requests_are_off(github: GitHub, client: httpx.AsyncClient) -> None:
    github.repository["has_pull_requests"] = False
    github.faults["GET", COMMENTS] = lambda: JSONResponse({"message": "Not Found"}, 404)
    (problem,) = await check(client, follow_ups=True)
    assert problem.code is ProblemCode.PULL_REQUESTS_OFF


@pytest.mark.parametrize("path", [COMMENTS, "/user"])
async def test_a_fault_while_reviews_are_asked_for_is_said(
    github: GitHub, client: httpx.AsyncClient, path: str
) -> None:
    github.faults["GET", path] = lambda: PlainTextResponse("", 500)
    (problem,) = await check(client, follow_ups=True)
    assert (problem.code, "500" in problem.message) == (ProblemCode.FORGE_FAILED, True)
