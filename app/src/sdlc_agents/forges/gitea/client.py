"""Gitea and Forgejo, by their API v1: https://docs.gitea.com/api/"""

from typing import Any

import httpx
import structlog

from sdlc_agents.forges import twins
from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.gitea import check, conversation
from sdlc_agents.forges.gitea.api import GiteaApi
from sdlc_agents.forges.model import (
    Conversation,
    ForgeError,
    Problem,
    PullRequest,
    PullRequestText,
)
from sdlc_agents.git.command import Credentials

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
        found = await self._find(text.branch, text.base)
        if response.status_code == httpx.codes.CONFLICT:
            return twins.listed(found, self._address.host)
        made = _pull_request(response.json(), created=True)
        # Gitea lets two callers open the same pull request at one moment.
        kept = await twins.keep_older(made, found, self._close)
        if kept.created:
            await self._request_reviews(kept, text.reviewers)
        return kept

    async def conversation(self, number: int) -> Conversation:
        """What was said on a pull request."""
        return await conversation.read(self._api, number)

    async def comment(self, number: int, body: str, marker: str) -> None:
        """Say something on a pull request, unless it was said before."""
        await conversation.say_once(self._api, number, body, marker)

    async def check(self, base_branch: str | None, *, follow_ups: bool = False) -> list[Problem]:
        """What keeps the agents from working there (token, rights, base branch); nothing is written. Never raises."""
        return await check.check(
            self._address, _USERNAME, self._token, self._client, base_branch, follow_ups=follow_ups
        )

    async def _close(self, number: int) -> None:
        await self._api.call("PATCH", f"pulls/{number}", {"state": "closed"}, accept={201})

    async def _request_reviews(self, pull_request: PullRequest, reviewers: tuple[str, ...]) -> None:
        # One by one: Gitea asks nobody when it refuses one of them.
        for reviewer in reviewers:
            path = f"pulls/{pull_request.number}/requested_reviewers"
            try:
                await self._api.call("POST", path, {"reviewers": [reviewer]}, accept={201})
            except ForgeError as error:
                log.warning("reviewer_refused", reviewer=reviewer, url=pull_request.url, error=error.message)

    async def _find(self, branch: str, base: str) -> PullRequest | None:
        """The oldest open one from the repository's own branch; a fork may have one of the same name.

        Gitea tells one by its branches, too (`pulls/{base}/{head}`), but names a closed one where there was one before.
        """
        found = [
            _pull_request(shown, created=False)
            for shown in await self._api.pages("pulls", "&state=open&sort=oldest")
            if (shown["head"]["ref"], shown["base"]["ref"]) == (branch, base)
            and shown["head"]["repo_id"] == shown["base"]["repo_id"]
        ]
        return min(found, key=lambda shown: shown.number, default=None)


def _pull_request(document: dict[str, Any], *, created: bool) -> PullRequest:
    return PullRequest(int(document["number"]), str(document["html_url"]), created)
