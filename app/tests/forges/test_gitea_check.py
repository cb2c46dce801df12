"""Checks of a repository on a real Gitea."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import ForgeKind, Problem, ProblemCode
from sdlc_agents.kernel.serving import serve
from support.lab import Gitea, GiteaRepository
from support.processes import free_port
from support.relay import egress_proxy, tls_front


@pytest.fixture
async def client(gitea: Gitea) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=gitea.ca_file)
    async with httpx.AsyncClient(verify=context, trust_env=False) as connected:
        yield connected


async def check(
    repository: GiteaRepository | str, client: httpx.AsyncClient, token: str = "", base_branch: str | None = None
) -> list[Problem]:
    if isinstance(repository, GiteaRepository):
        url, given = repository.url, token or repository.gitea.bot_token
    else:
        url, given = repository, token or "0" * 40
    forge = await connection.connect(url, given, client, ForgeKind.GITEA)
    problems = await forge.check(base_branch)
    for problem in problems:
        assert given not in problem.message
    return problems


def codes(problems: list[Problem]) -> list[ProblemCode]:
    return [problem.code for problem in problems]


async def test_a_repository_that_can_be_worked_on_has_no_problem_and_is_left_as_it_is(
    gitea: Gitea, client: httpx.AsyncClient
) -> None:
    repository = await gitea.make_repository()
    await repository.commit({"x": "x"}, new_branch="release/1")
    before = await repository.call("GET", "/branches")
    assert await check(repository, client) == []
    assert await check(repository, client, base_branch="release/1") == []
    assert await repository.call("GET", "/branches") == before
    assert await repository.pull_requests() == []


async def test_a_base_branch_that_is_not_there_is_named(gitea: Gitea, client: httpx.AsyncClient) -> None:
    (problem,) = await check(await gitea.make_repository(), client, base_branch="develop")
    assert problem.code is ProblemCode.BASE_BRANCH_MISSING
    assert "has no branch develop" in problem.message


async def test_a_repository_without_a_commit_has_no_base(gitea: Gitea, client: httpx.AsyncClient) -> None:
    name = f"empty{free_port()}"
    await gitea.call("POST", "/orgs/demo/repos", {"name": name, "private": True})
    await gitea.call("PUT", f"/repos/demo/{name}/collaborators/sdlc-bot", {"permission": "write"})
    (problem,) = await check(GiteaRepository(gitea, name), client)
    assert problem.code is ProblemCode.BASE_BRANCH_MISSING
    assert "push a first one" in problem.message


async def test_a_wrong_token_is_refused(gitea: Gitea, client: httpx.AsyncClient) -> None:
    (problem,) = await check(await gitea.make_repository(), client, token="0" * 40)
    assert problem.code is ProblemCode.TOKEN_REFUSED
    assert "make a new one" in problem.message


async def test_what_the_tokens_owner_does_not_see_is_not_found(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await gitea.make_repository()
    await repository.call("DELETE", "/collaborators/sdlc-bot")
    assert codes(await check(repository, client)) == [ProblemCode.REPOSITORY_NOT_FOUND]


async def test_a_repository_that_does_not_exist_is_not_found(gitea: Gitea, client: httpx.AsyncClient) -> None:
    (problem,) = await check(GiteaRepository(gitea, "no-such"), client)
    assert problem.code is ProblemCode.REPOSITORY_NOT_FOUND
    assert "no repository demo/no-such" in problem.message


async def test_an_owner_who_may_only_read_cannot_push(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await gitea.make_repository(write=False)
    (problem,) = await check(repository, client)
    assert problem.code is ProblemCode.NO_PUSH_RIGHT
    assert "write permission" in problem.message


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (("write:repository",), []),
        (("read:repository",), [ProblemCode.NO_PUSH_RIGHT]),
        (("write:issue",), [ProblemCode.NO_READ_RIGHT]),
    ],
)
async def test_a_token_has_no_more_rights_than_its_scopes(
    gitea: Gitea, client: httpx.AsyncClient, scopes: tuple[str, ...], expected: list[ProblemCode]
) -> None:
    repository = await gitea.make_repository()
    name, token = await gitea.make_user(*scopes)
    await repository.call("PUT", f"/collaborators/{name}", {"permission": "write"})
    assert codes(await check(repository, client, token)) == expected


async def test_several_problems_are_said_at_once(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await gitea.make_repository(write=False)
    await repository.call("PATCH", "", {"has_pull_requests": False})
    assert codes(await check(repository, client, base_branch="develop")) == [
        ProblemCode.PULL_REQUESTS_OFF,
        ProblemCode.NO_PUSH_RIGHT,
        ProblemCode.BASE_BRANCH_MISSING,
    ]


async def test_an_archived_repository_takes_no_changes(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await gitea.make_repository()
    await repository.call("PATCH", "", {"archived": True})
    assert ProblemCode.ARCHIVED in codes(await check(repository, client))


async def test_a_repository_that_has_moved_is_said_to_have(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await gitea.make_repository()
    await repository.call("PATCH", "", {"name": f"{repository.name}-2"})
    (problem,) = await check(repository, client)
    assert problem.code is ProblemCode.REPOSITORY_NOT_FOUND
    assert "has moved" in problem.message


async def test_a_forge_that_is_away_is_said_to_be(client: httpx.AsyncClient) -> None:
    (problem,) = await check(f"https://127.0.0.1:{free_port()}/demo/shop", client)
    assert problem.code is ProblemCode.FORGE_UNREACHABLE
    assert "127.0.0.1" in problem.message


async def test_a_certificate_that_is_not_trusted_is_said_to_be(gitea: Gitea) -> None:
    repository = await gitea.make_repository()
    async with httpx.AsyncClient(trust_env=False) as stranger:
        (problem,) = await check(repository, stranger)
    assert problem.code is ProblemCode.CERTIFICATE_UNTRUSTED
    assert "extra_trusted_ca_certificates" in problem.message


async def through_proxy(gitea: Gitea, url: str, *, refused: bool = False) -> tuple[list[Problem], list[str]]:
    """The problems, and what the proxy was asked for."""
    context = ssl.create_default_context(cafile=gitea.ca_file)
    async with egress_proxy() as proxy:
        if refused:
            proxy.refused.add(url.split("/")[2])
        async with httpx.AsyncClient(verify=context, trust_env=False, proxy=proxy.url) as client:
            return await check(url, client, gitea.bot_token), proxy.asked


async def test_a_forge_that_the_egress_proxy_refuses_is_said_to_be(gitea: Gitea) -> None:
    repository = await gitea.make_repository()
    problems, asked = await through_proxy(gitea, repository.url)
    assert (problems, set(asked)) == ([], {gitea.url.removeprefix("https://")})
    (problem,), _ = await through_proxy(gitea, repository.url, refused=True)
    assert problem.code is ProblemCode.EGRESS_REFUSED
    assert "allow-list" in problem.message


async def test_a_forge_that_is_away_behind_the_proxy_is_said_to_be(gitea: Gitea) -> None:
    (problem,), _ = await through_proxy(gitea, f"https://127.0.0.1:{free_port()}/demo/shop")
    assert problem.code is ProblemCode.FORGE_UNREACHABLE


async def test_a_proxy_that_cannot_reach_the_forge_is_said_to(client: httpx.AsyncClient, gitea: Gitea) -> None:
    del client

    async def gateway_timeout(_request: Request) -> Response:
        return PlainTextResponse("", 503)

    app = Starlette(routes=[Route("/{rest:path}", gateway_timeout)])
    app.add_exception_handler(405, lambda _request, _error: PlainTextResponse("", 503))
    app.add_exception_handler(404, lambda _request, _error: PlainTextResponse("", 503))
    async with (
        serve(app, port=0, host="127.0.0.1", graceful_seconds=1) as port,
        httpx.AsyncClient(trust_env=False, proxy=f"http://127.0.0.1:{port}") as proxied,
    ):
        (problem,) = await check(f"{gitea.url}/demo/shop", proxied)
    assert problem.code is ProblemCode.FORGE_UNREACHABLE
    assert "the egress proxy does not reach" in problem.message


@asynccontextmanager
async def answering(authority: trustme.CA, answer: Callable[[Request], Awaitable[Response]]) -> AsyncIterator[str]:
    """A forge behind TLS that answers everything so; yields its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = Starlette(routes=[Route("/{rest:path}", answer)])
    async with serve(app, port=0, host="127.0.0.1", graceful_seconds=1) as port:
        with tls_front(port, context) as front:
            yield f"https://127.0.0.1:{front}"


@pytest.mark.parametrize(
    ("owner", "expected"),
    [("html", ProblemCode.FORGE_UNSUPPORTED), ("other", ProblemCode.FORGE_UNSUPPORTED), ("busy", "forge_failed")],
)
async def test_what_is_no_gitea_or_has_a_fault_is_said_to(
    client: httpx.AsyncClient, authority: trustme.CA, owner: str, expected: ProblemCode
) -> None:
    async def answer(_request: Request) -> Response:
        documents = {"html": ("<html>", 200), "other": ('{"id": 1}', 200), "busy": ("", 502)}
        content, status = documents[owner]
        return PlainTextResponse(content, status)

    async with answering(authority, answer) as url:
        (problem,) = await check(f"{url}/{owner}/shop", client)
    assert problem.code == expected


@pytest.mark.parametrize(("failing", "expected"), [("info/refs", "forge_failed"), ("branches", "forge_failed")])
async def test_a_fault_in_the_middle_is_said_too(
    client: httpx.AsyncClient, authority: trustme.CA, failing: str, expected: str
) -> None:
    async def answer(request: Request) -> Response:
        if failing in request.url.path:
            return PlainTextResponse("", 500)
        return PlainTextResponse('{"permissions": {"push": true}, "default_branch": "main"}')

    async with answering(authority, answer) as url:
        (problem,) = await check(f"{url}/demo/shop", client)
    assert problem.code == expected
