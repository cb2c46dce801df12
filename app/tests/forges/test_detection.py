"""Which provider speaks to a forge: told by its host, by what was set, or by asking it."""

import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sdlc_agents.forges import connection
from sdlc_agents.forges.gitea.client import GiteaForge
from sdlc_agents.forges.github.client import GitHubForge
from sdlc_agents.forges.gitlab.client import GitLabForge
from sdlc_agents.forges.model import ForgeError, ForgeKind, ForgeUnavailableError, ProblemCode
from support.github import CLASSIC, GitHub
from support.gitlab import TOKEN, GitLab
from support.lab import Gitea
from support.processes import free_port
from support.standins import Asked, StandIn, running

GITHUB, GITLAB, GITEA = GitHubForge, GitLabForge, GiteaForge
SIGN_IN = {"message": "Only signed in user is allowed to call APIs."}


class Other(StandIn):
    """A host whose every path is answered by `answers`, 404 where nothing is."""

    vendor = "gitlab"

    def __init__(self, answers: dict[str, Callable[[], Response]]) -> None:
        super().__init__(set(), "")
        self._answers = answers

    async def _handle(self, request: Request) -> Response:
        asked = Asked(request.method, request.headers["host"], request.url.path, {}, None, dict(request.headers))
        self.asked.append(asked)
        answer = self._answers.get(asked.path)
        return PlainTextResponse("<html>", 404) if answer is None else answer()


def gitea_at(prefix: str = "", status: int = 200, document: Any = None) -> Other:
    found = {"version": "1.24.0"} if document is None else document
    return Other({f"{prefix}/api/v1/version": lambda: JSONResponse(found, status)})


@pytest.mark.parametrize(
    ("url", "kind", "provider"),
    [
        ("https://github.com/demo/shop", None, GITHUB),
        ("https://gitlab.com/demo/a/shop", None, GITLAB),
        ("https://octo.ghe.com/demo/shop", None, GITHUB),
        ("https://code.example/demo/shop", ForgeKind.GITHUB, GITHUB),
        ("https://code.example/demo/a/shop", ForgeKind.GITLAB, GITLAB),
        ("https://code.example/forge/demo/shop", ForgeKind.GITEA, GITEA),
        ("https://github.com/demo/shop", ForgeKind.GITEA, GITEA),
        ("https://gitlab.example/demo/shop", ForgeKind.GITHUB, GITHUB),
    ],
)
async def test_what_is_set_or_known_by_its_host_is_not_asked(url: str, kind: ForgeKind | None, provider: type) -> None:
    nobody = Other({})
    async with running(nobody) as client:
        forge = await connection.connect(url, "token", client, kind)
    assert isinstance(forge, provider)
    assert nobody.asked == []


@pytest.mark.parametrize(
    ("stand_in", "url", "provider", "clone_url"),
    [
        (
            lambda: GitHub("code.example"),
            "https://code.example/demo/shop",
            GITHUB,
            "https://code.example/demo/shop.git",
        ),
        (lambda: GitHub("gitlab.example"), "https://gitlab.example/demo/shop", GITHUB, None),
        (lambda: GitLab("code.example"), "https://code.example/demo/shop", GITLAB, None),
        (lambda: GitLab("github.example"), "https://github.example/demo/shop", GITLAB, None),
        (lambda: GitLab("code.example"), "https://code.example/a/b/shop", GITLAB, "https://code.example/a/b/shop.git"),
        (
            lambda: GitLab("code.example", "/lab", "a/b/shop"),
            "https://code.example/lab/a/b/shop",
            GITLAB,
            "https://code.example/lab/a/b/shop.git",
        ),
        (gitea_at, "https://code.example/demo/shop", GITEA, None),
        (gitea_at, "https://gitlab.example/demo/shop", GITEA, None),
        (lambda: gitea_at("/forge"), "https://code.example/forge/demo/shop", GITEA, None),
        (lambda: gitea_at(status=403, document=SIGN_IN), "https://codeberg.org/demo/shop", GITEA, None),
    ],
)
async def test_a_forge_is_asked_what_it_is_once_and_without_the_token(
    stand_in: Callable[[], StandIn], url: str, provider: type, clone_url: str | None
) -> None:
    forge_host = stand_in()
    async with running(forge_host) as client:
        forge = await connection.connect(url, "token", client)
        asked = len(forge_host.asked)
        again = await connection.connect(url.replace("shop", "other"), "token", client)
    assert isinstance(forge, provider)
    assert isinstance(again, provider)
    assert clone_url is None or forge.clone_url == clone_url
    assert 1 <= asked <= 3
    assert len(forge_host.asked) == asked
    assert not any("authorization" in question.headers for question in forge_host.asked)


async def test_a_hint_in_the_name_saves_questions() -> None:
    gitlab = GitLab("gitlab.example")
    async with running(gitlab) as client:
        await connection.connect("https://gitlab.example/demo/shop", TOKEN, client)
    assert [asked.path for asked in gitlab.asked] == ["/api/v4/version"]


async def test_an_enterprise_server_in_private_mode_is_known() -> None:
    github = GitHub("code.example")
    github.private_mode = True
    async with running(github) as client:
        assert isinstance(await connection.connect("https://code.example/demo/shop", CLASSIC, client), GitHubForge)


async def test_a_real_gitea_is_known(gitea: Gitea) -> None:
    context = ssl.create_default_context(cafile=gitea.ca_file)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        assert isinstance(await connection.connect(f"{gitea.url}/demo/shop", gitea.bot_token, client), GiteaForge)


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"/api/v1/version": lambda: JSONResponse({"version": 1})},
        {"/api/v4/version": lambda: JSONResponse({"error": "who"}, 401)},
        {"/api/v1/version": lambda: PlainTextResponse("", 302, {"Location": "/login"})},
    ],
)
async def test_what_answers_as_no_forge_does_is_said_to_need_its_kind(
    answers: dict[str, Callable[[], Response]],
) -> None:
    async with running(Other(answers)) as client:
        with pytest.raises(ForgeError, match="set forge on the repository") as caught:
            await connection.connect("https://code.example/demo/shop", "token", client)
    assert caught.value.problem is ProblemCode.FORGE_UNSUPPORTED
    assert not isinstance(caught.value, ForgeUnavailableError)


async def test_a_forge_of_another_kind_is_named() -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(ForgeError, match="Bitbucket") as caught:
            await connection.connect("https://bitbucket.org/demo/shop", "token", client)
    assert caught.value.problem is ProblemCode.FORGE_UNSUPPORTED


@pytest.mark.parametrize("status", [500, 503])
async def test_a_forge_with_a_fault_may_be_asked_again_and_is_not_remembered(status: int) -> None:
    answers: dict[str, Callable[[], Response]] = {"/api/v1/version": lambda: PlainTextResponse("", status)}
    async with running(Other(answers)) as client:
        with pytest.raises(ForgeUnavailableError, match=str(status)) as caught:
            await connection.connect("https://code.example/demo/shop", "token", client)
        assert caught.value.problem is ProblemCode.FORGE_FAILED
        answers["/api/v1/version"] = lambda: JSONResponse({"version": "1.24.0"})
        assert isinstance(await connection.connect("https://code.example/demo/shop", "token", client), GiteaForge)


async def test_a_forge_that_is_away_is_unavailable() -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(ForgeUnavailableError, match="does not answer") as caught:
            await connection.connect(f"https://127.0.0.1:{free_port()}/demo/shop", "token", client)
    assert caught.value.problem is ProblemCode.FORGE_UNREACHABLE


async def test_a_certificate_that_is_not_trusted_is_told_at_once(gitea: Gitea) -> None:
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(ForgeError, match="extra_trusted_ca_certificates") as caught:
            await connection.connect(f"{gitea.url}/demo/shop", "token", stranger)
    assert caught.value.problem is ProblemCode.CERTIFICATE_UNTRUSTED
    assert not isinstance(caught.value, ForgeUnavailableError)
