"""GitHub, github.com and GitHub Enterprise Server, by its REST API: https://docs.github.com/rest"""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import httpx
import structlog

from sdlc_agents.forges import twins
from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.calls import Api, message
from sdlc_agents.forges.github import check, conversation
from sdlc_agents.forges.http_cache import HttpCache
from sdlc_agents.forges.model import (
    Conversation,
    ForgeError,
    ForgeUnavailableError,
    Problem,
    PullRequest,
    PullRequestText,
)
from sdlc_agents.git.command import Credentials

USERNAME = "x-access-token"
_TITLE_CHARACTERS = 256
_BODY_CHARACTERS = 65_536
_CREATED = 201
_REFUSED = 422

_HINTS = {
    401: "the repository's git_access_token is not valid there",
    404: "the repository does not exist there, or its git_access_token may not see it (a classic token needs the scope "
    "repo, a fine-grained one must name the repository)",
}

_KEPT_BYTES = 16 * 2**20
_answers: WeakKeyDictionary[httpx.AsyncClient, HttpCache] = WeakKeyDictionary()
"""What was read: a process has one client for all forges."""

log = structlog.get_logger()


class GitHubForge:
    """One repository on GitHub, as the owner of a token sees it.

    A fine-grained token needs "Contents: write" and "Pull requests: write", a classic one the scope repo.
    """

    def __init__(self, address: RepositoryAddress, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._token = token
        owner, name = quote(address.owner, safe=""), quote(address.name, safe="")
        self._repository = f"/repos/{owner}/{name}"
        self._api = _Api(api_url(address), address.host, address.path, headers(token), client, _HINTS)

    @property
    def clone_url(self) -> str:
        """Where git fetches and pushes."""
        return self._address.clone_url

    @property
    def credentials(self) -> Credentials:
        """What git is to say there."""
        return Credentials(self._address.origin, USERNAME, self._token)

    async def ensure_pull_request(self, text: PullRequestText) -> PullRequest:
        """The open pull request from the branch into its base, opened now unless there is one."""
        response = await self._open(text, draft=text.draft)
        if response.status_code == _REFUSED and text.draft and "draft pull request" in message(response).lower():
            log.info("draft_refused", repository=self._address.path, said=message(response))
            response = await self._open(text, draft=False)
        if response.status_code == _REFUSED:
            if "already exists" not in message(response):
                raise self._api.refused(response)
            return twins.listed(await self._find(text.branch, text.base), self._address.host)
        made = _pull_request(response.json(), created=True)
        # Nothing says that GitHub never opens two for two callers at one moment.
        kept = await twins.keep_older(made, await self._find(text.branch, text.base), self._close)
        if kept.created:
            await self._request_reviews(kept.number, text.reviewers)
        return kept

    async def conversation(self, number: int) -> Conversation:
        """What was said on a pull request."""
        return await conversation.read(self._api, self._repository, number)

    async def comment(self, number: int, body: str, marker: str) -> None:
        """Say something on a pull request, unless it was said before."""
        await conversation.say_once(self._api, self._repository, number, body, marker)

    async def check(self, base_branch: str | None, *, follow_ups: bool = False) -> list[Problem]:
        """What keeps the agents from working there (token, rights, base branch); nothing is written. Never raises."""
        return await check.check(
            self._api,
            self._repository,
            self._address,
            (USERNAME, self._token),
            base_branch,
            follow_ups=follow_ups,
        )

    async def _open(self, text: PullRequestText, *, draft: bool) -> httpx.Response:
        document: dict[str, Any] = {
            "title": text.title[:_TITLE_CHARACTERS],
            "head": text.branch,
            "base": text.base,
            "body": text.body[:_BODY_CHARACTERS],
            "draft": draft,
        }
        return await self._api.call("POST", f"{self._repository}/pulls", document, accept={_CREATED, _REFUSED})

    async def _close(self, number: int) -> None:
        await self._api.call("PATCH", f"{self._repository}/pulls/{number}", {"state": "closed"}, accept={200})

    async def _find(self, branch: str, base: str) -> PullRequest | None:
        params = {"state": "open", "head": f"{self._address.owner}:{branch}", "base": base, "sort": "created"}
        found = await self._api.pages(f"{self._repository}/pulls", {**params, "direction": "asc"})
        own = [_pull_request(shown, created=False) for shown in found if _is_own(shown)]
        return own[0] if own else None

    async def _request_reviews(self, number: int, reviewers: tuple[str, ...]) -> None:
        """One by one: GitHub refuses all when one of them cannot review."""
        path = f"{self._repository}/pulls/{number}/requested_reviewers"
        for reviewer in reviewers:
            try:
                await self._api.call("POST", path, {"reviewers": [reviewer]}, accept={_CREATED})
            except ForgeError as error:
                log.warning("reviewer_left_out", reviewer=reviewer, error=error.message)


class _Api(Api):
    """GitHub's API."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """What was read before is asked for only if it has changed: otherwise that costs nothing of the rate limit."""
        if request.method != "GET":
            return await super().send(request)
        answers = _answers.setdefault(self.client, HttpCache(_KEPT_BYTES))
        # One token may see what another may not.
        asked = f"{request.headers['Authorization']} {request.url}"
        key = hashlib.sha256(asked.encode()).hexdigest()
        kept = answers.get(key)
        if kept is not None:
            request.headers["If-None-Match"] = kept.tag
        response = await super().send(request)
        if kept is not None and response.status_code == httpx.codes.NOT_MODIFIED:
            limits = {name: value for name, value in response.headers.items() if name.startswith("x-ratelimit-")}
            return httpx.Response(httpx.codes.OK, headers=limits, content=kept.content)
        if response.status_code == httpx.codes.OK and "etag" in response.headers:
            answers.keep(key, response.headers["etag"], response.content)
        return response

    def refused(self, response: httpx.Response) -> ForgeError:
        """Also what a 403 means: it tells the rights that would do."""
        error = super().refused(response)
        if response.status_code != httpx.codes.FORBIDDEN or isinstance(error, ForgeUnavailableError):
            return error
        return ForgeError(f"{self.host}/{self.repository}: {missing_right(response)} (403: {message(response)})")


def missing_right(response: httpx.Response) -> str:
    """What a token lacks that was answered 403, or what else keeps it from writing.

    https://docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api#resource-not-accessible
    """
    if response.headers.get("x-github-sso", "").startswith("required"):
        return "the repository's git_access_token must be authorized for its organization's single sign-on"
    if "archived" in message(response):
        return "the repository is archived and takes no changes: un-archive it"
    accepted = response.headers.get("x-accepted-github-permissions")
    if accepted:
        needed = " or ".join(
            " and ".join(_right(right) for right in choice.split(",")) for choice in accepted.split(";")
        )
        return f"the repository's git_access_token lacks the right {needed}"
    return (
        'the repository\'s git_access_token lacks a right: a fine-grained one needs "Contents: write" and '
        '"Pull requests: write", a classic one the scope repo'
    )


def api_url(address: RepositoryAddress) -> str:
    """Where the API is: a host of its own for github.com and ghe.com, a path on a GitHub Enterprise Server."""
    if address.host == "github.com" or address.host.endswith(".ghe.com"):
        return f"https://api.{address.host}"
    return f"{address.base}/api/v3"


def headers(token: str) -> dict[str, str]:
    """What every request says."""
    return {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {token}",
        "User-Agent": "sdlc-agents",
        "X-GitHub-Api-Version": "2022-11-28",
    }


def _right(given: str) -> str:
    name, _, level = given.strip().partition("=")
    return f'"{name.replace("_", " ").capitalize()}: {level}"'


def _is_own(document: Mapping[str, Any]) -> bool:
    """Whether its branch is the repository's, and not a fork's that the same owner has (or had: then it is null)."""
    source = document["head"]["repo"]
    return source is not None and source["id"] == document["base"]["repo"]["id"]


def _pull_request(document: dict[str, Any], *, created: bool) -> PullRequest:
    return PullRequest(int(document["number"]), str(document["html_url"]), created)
