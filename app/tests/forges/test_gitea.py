"""Pull requests on a real Gitea."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import httpx
import pytest

from sdlc_agents.forges import connection
from sdlc_agents.forges.gitea import api
from sdlc_agents.forges.model import ForgeError, ForgeKind, ForgeUnavailableError, PullRequest, PullRequestText
from support.lab import Gitea, GiteaRepository
from support.processes import free_port

BRANCH = "feature/SHOP-1"


@pytest.fixture
async def client(gitea: Gitea) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=gitea.ca_file)
    async with httpx.AsyncClient(verify=context, trust_env=False) as connected:
        yield connected


async def with_branch(gitea: Gitea, *, base: str = "main", write: bool = True) -> GiteaRepository:
    repository = await gitea.make_repository(branch=base, write=write)
    await repository.commit({"x": "x"}, branch=base, new_branch=BRANCH)
    return repository


async def ensure(
    repository: GiteaRepository, client: httpx.AsyncClient, *, token: str | None = None, base: str = "main"
) -> PullRequest:
    forge = await connection.connect(repository.url, token or repository.gitea.bot_token, client)
    return await forge.ensure_pull_request(PullRequestText(BRANCH, base, "[SHOP-1] Better", "Because."))


async def test_a_pull_request_is_opened_once_however_often_it_is_asked_for(
    gitea: Gitea, client: httpx.AsyncClient
) -> None:
    repository = await with_branch(gitea)
    first = await ensure(repository, client)
    again = await ensure(repository, client)
    assert (first.created, again.created) == (True, False)
    assert first.url == again.url
    (shown,) = await repository.pull_requests()
    assert (shown["title"], shown["body"], shown["html_url"]) == ("[SHOP-1] Better", "Because.", first.url)
    assert (shown["head"]["ref"], shown["base"]["ref"], shown["user"]["login"]) == (BRANCH, "main", "sdlc-bot")


async def test_two_who_ask_at_once_get_the_same_one(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await with_branch(gitea)
    one, other = await asyncio.gather(ensure(repository, client), ensure(repository, client))
    assert one.number == other.number
    assert [shown["number"] for shown in await repository.pull_requests() if shown["state"] == "open"] == [one.number]


async def test_a_base_branch_with_a_slash_is_found_again(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await with_branch(gitea, base="release/1")
    await ensure(repository, client, base="release/1")
    assert not (await ensure(repository, client, base="release/1")).created


async def test_after_a_closed_pull_request_a_new_one_is_opened(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await with_branch(gitea)
    first = await ensure(repository, client)
    await repository.call("PATCH", f"/pulls/{first.number}", {"state": "closed"})
    second = await ensure(repository, client)
    assert second.created
    assert second.number != first.number
    again = await ensure(repository, client)
    assert (again.number, again.url, again.created) == (second.number, second.url, False)


async def test_a_pull_request_from_a_fork_is_nobodys_here(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await with_branch(gitea)
    stranger = await repository.person()
    await repository.call("POST", "/forks", {}, token=stranger.token)
    mine = {"head": f"{stranger.name}:{BRANCH}", "base": "main", "title": "Mine"}
    await repository.call("POST", "/pulls", mine, token=stranger.token)
    made = await ensure(repository, client)
    again = await ensure(repository, client)
    assert (made.number, made.created, again.number, again.created) == (2, True, 2, False)
    assert [shown["state"] for shown in await repository.pull_requests()] == ["open", "open"]


async def test_a_pull_request_is_found_again_on_every_page(
    gitea: Gitea, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "PAGE", 1)
    repository = await with_branch(gitea)
    await repository.call("POST", "/branches", {"new_branch_name": "other", "old_branch_name": BRANCH})
    await repository.call("POST", "/pulls", {"head": "other", "base": "main", "title": "Other"})
    made = await ensure(repository, client)
    again = await ensure(repository, client)
    assert (made.created, again.number, again.created) == (True, made.number, False)


async def test_a_long_title_is_cut(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await with_branch(gitea)
    forge = await connection.connect(repository.url, gitea.bot_token, client)
    await forge.ensure_pull_request(PullRequestText(BRANCH, "main", "x" * 1000, ""))
    (shown,) = await repository.pull_requests()
    assert shown["title"] == "x" * 255


async def test_a_wrong_token_is_said_to_be_wrong(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await with_branch(gitea)
    with pytest.raises(ForgeError, match="git_access_token is not valid") as caught:
        await ensure(repository, client, token="0" * 40)
    assert "0" * 40 not in caught.value.message


async def test_a_repository_that_the_token_does_not_see_is_said_to_be_missing(
    gitea: Gitea, client: httpx.AsyncClient
) -> None:
    repository = await with_branch(gitea)
    await repository.call("DELETE", "/collaborators/sdlc-bot")
    with pytest.raises(ForgeError, match="does not exist there, or its git_access_token may not see it"):
        await ensure(repository, client)


async def test_a_missing_branch_is_an_error_with_what_the_forge_says(gitea: Gitea, client: httpx.AsyncClient) -> None:
    repository = await gitea.make_repository()
    with pytest.raises(ForgeError, match=repository.name):
        await ensure(repository, client)


async def test_a_forge_that_is_away_may_be_asked_again(gitea: Gitea, client: httpx.AsyncClient) -> None:
    url = f"https://127.0.0.1:{free_port()}/demo/shop"
    with pytest.raises(ForgeUnavailableError, match="does not answer"):
        await connection.connect(url, gitea.bot_token, client)
    forge = await connection.connect(url, gitea.bot_token, client, ForgeKind.GITEA)
    with pytest.raises(ForgeUnavailableError, match="does not answer"):
        await forge.ensure_pull_request(PullRequestText(BRANCH, "main", "x", ""))
