"""Gitea and Forgejo, by their API v1: https://docs.gitea.com/api/"""

from typing import Any
from urllib.parse import quote

import httpx
import structlog

from sdlc_agents.agent.git import Credentials
from sdlc_agents.forges import gitea_check, gitea_conversation
from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.gitea_api import GiteaApi
from sdlc_agents.forges.model import Conversation, ForgeError, Problem, PullRequest, PullRequestText

_USERNAME = "sdlc-agents"
_TITLE_CHARACTERS = 255
_DRAFT = "WIP: "
"""What makes a pull request a draft, where a site has not set other prefixes."""

log = structlog.get_logger()


class GiteaForge:
    """One repository on a Gitea, as the owner of a token sees it.

    The token needs the scope write:repository, and for `conversation` and `comment` read:issue and read:user.
    """

    def __init__(self, address: RepositoryAddress, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._token = token
        self._client = client
        self._api = GiteaApi(address, token, client)

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
        title = (_DRAFT if text.draft else "") + text.title
        document = {"head": text.branch, "base": text.base, "title": title[:_TITLE_CHARACTERS], "body": text.body}
        response = await self._api.call("POST", "pulls", document, accept={201, 409})
        if response.status_code == httpx.codes.CONFLICT:
            return await self._find(text.branch, text.base)
        made = await self._settle(_pull_request(response.json(), created=True), text.branch, text.base)
        if made.created:
            await self._request_reviews(made, text.reviewers)
        return made

    async def conversation(self, number: int) -> Conversation:
        """What was said on a pull request."""
        return await gitea_conversation.read(self._api, number)

    async def comment(self, number: int, body: str, marker: str) -> None:
        """Say something on a pull request, unless it was said before."""
        await gitea_conversation.say_once(self._api, number, body, marker)

    async def check(self, base_branch: str | None, *, follow_ups: bool = False) -> list[Problem]:
        """What keeps the agents from working there (token, rights, base branch); nothing is written. Never raises."""
        return await gitea_check.check(
            self._address, _USERNAME, self._token, self._client, base_branch, follow_ups=follow_ups
        )

    async def _request_reviews(self, pull_request: PullRequest, reviewers: tuple[str, ...]) -> None:
        # One by one: Gitea asks nobody when it refuses one of them.
        for reviewer in reviewers:
            path = f"pulls/{pull_request.number}/requested_reviewers"
            try:
                await self._api.call("POST", path, {"reviewers": [reviewer]}, accept={201})
            except ForgeError as error:
                log.warning("reviewer_refused", reviewer=reviewer, url=pull_request.url, error=error.message)

    async def _settle(self, made: PullRequest, branch: str, base: str) -> PullRequest:
        """Gitea lets two callers open the same pull request at one moment: the older one stays, ours is closed."""
        response = await self._api.call("GET", "pulls?state=open&sort=recentupdate&limit=50", accept={200})
        numbers = [
            int(shown["number"])
            for shown in response.json()
            if shown["head"]["ref"] == branch and shown["base"]["ref"] == base
        ]
        if not numbers or min(numbers) >= made.number:
            return made
        await self._api.call("PATCH", f"pulls/{made.number}", {"state": "closed"}, accept={201})
        return await self._find(branch, base)

    async def _find(self, branch: str, base: str) -> PullRequest:
        path = f"pulls/{quote(base, safe='')}/{quote(branch, safe='')}"
        response = await self._api.call("GET", path, accept={200})
        return _pull_request(response.json(), created=False)


def _pull_request(document: dict[str, Any], *, created: bool) -> PullRequest:
    return PullRequest(int(document["number"]), str(document["html_url"]), created)
