"""Gitea and Forgejo, by their API v1: https://docs.gitea.com/api/"""

from typing import Any
from urllib.parse import quote

import httpx

from sdlc_agents.agent.git import Credentials
from sdlc_agents.forges import gitea_check
from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.model import (
    Conversation,
    ForgeError,
    ForgeUnavailableError,
    Problem,
    PullRequest,
    PullRequestText,
)

_USERNAME = "sdlc-agents"
_TITLE_CHARACTERS = 255
_SECONDS = 20.0
_UNAVAILABLE = {408, 425, 429, 500, 502, 503, 504}


class GiteaForge:
    """One repository on a Gitea, as the owner of a token sees it. The token needs the right `write:repository`."""

    def __init__(self, address: RepositoryAddress, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._token = token
        self._client = client

    @property
    def clone_url(self) -> str:
        """Where git fetches and pushes."""
        return self._address.clone_url

    @property
    def credentials(self) -> Credentials:
        """What git is to say there; Gitea takes a token as the password of any user name."""
        return Credentials(self._address.origin, _USERNAME, self._token)

    async def ensure_pull_request(self, text: PullRequestText) -> PullRequest:
        """The open pull request from the branch into its base, opened now unless there is one."""
        document = {"head": text.branch, "base": text.base, "title": text.title[:_TITLE_CHARACTERS], "body": text.body}
        response = await self._call("POST", "pulls", document, accept={201, 409})
        if response.status_code == httpx.codes.CONFLICT:
            return await self._find(text.branch, text.base)
        return await self._settle(_pull_request(response.json(), created=True), text.branch, text.base)

    async def conversation(self, number: int) -> Conversation:
        """What was said on a pull request."""
        raise NotImplementedError(number)

    async def check(self, base_branch: str | None) -> list[Problem]:
        """What keeps the agents from working there (token, rights, base branch); nothing is written. Never raises."""
        return await gitea_check.check(self._address, _USERNAME, self._token, self._client, base_branch)

    async def _settle(self, made: PullRequest, branch: str, base: str) -> PullRequest:
        """Gitea lets two callers open the same pull request at one moment: the older one stays, ours is closed."""
        response = await self._call("GET", "pulls?state=open&sort=recentupdate&limit=50", accept={200})
        numbers = [
            int(shown["number"])
            for shown in response.json()
            if shown["head"]["ref"] == branch and shown["base"]["ref"] == base
        ]
        if not numbers or min(numbers) >= made.number:
            return made
        await self._call("PATCH", f"pulls/{made.number}", {"state": "closed"}, accept={201})
        return await self._find(branch, base)

    async def _find(self, branch: str, base: str) -> PullRequest:
        response = await self._call("GET", f"pulls/{quote(base, safe='')}/{quote(branch, safe='')}", accept={200})
        return _pull_request(response.json(), created=False)

    async def _call(
        self, method: str, path: str, document: dict[str, Any] | None = None, *, accept: set[int]
    ) -> httpx.Response:
        address = self._address
        url = f"{address.base}/api/v1/repos/{quote(address.owner, safe='')}/{quote(address.name, safe='')}/{path}"
        try:
            response = await self._client.request(
                method, url, json=document, headers={"Authorization": f"token {self._token}"}, timeout=_SECONDS
            )
        except httpx.HTTPError as error:
            raise ForgeUnavailableError(f"{address.base} does not answer: {type(error).__name__}") from error
        if response.status_code in accept:
            return response
        said = _message(response)
        if response.status_code in _UNAVAILABLE:
            raise ForgeUnavailableError(f"{address.base} answered {response.status_code}: {said}")
        hints = {
            401: "the repository's git_access_token is not valid there",
            403: "the repository's git_access_token lacks the right write:repository",
            404: "the repository does not exist there, or its git_access_token may not see it",
        }
        hint = hints.get(response.status_code, "the request was refused")
        raise ForgeError(f"{address.base}/{address.owner}/{address.name}: {hint} ({response.status_code}: {said})")


def _pull_request(document: dict[str, Any], *, created: bool) -> PullRequest:
    return PullRequest(int(document["number"]), str(document["html_url"]), created)


def _message(response: httpx.Response) -> str:
    try:
        document = response.json()
    except ValueError:
        return response.text[:200]
    return str(document.get("message", ""))[:300] if isinstance(document, dict) else ""
