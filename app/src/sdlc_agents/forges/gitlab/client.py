"""GitLab, gitlab.com and self-managed, by its REST API v4: https://docs.gitlab.com/api/rest/"""

from typing import Any

import httpx
import structlog

from sdlc_agents.forges import twins
from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.calls import Api
from sdlc_agents.forges.gitlab import check, conversation
from sdlc_agents.forges.model import (
    Conversation,
    ForgeError,
    Problem,
    PullRequest,
    PullRequestText,
)
from sdlc_agents.git.command import Credentials

USERNAME = "oauth2"
_DRAFT = "Draft: "
_TITLE_CHARACTERS = 255
_DESCRIPTION_CHARACTERS = 1_048_576
_CREATED = 201
_CONFLICT = 409

_HINTS = {
    401: "the repository's git_access_token is not valid there",
    403: "the repository's git_access_token lacks the scopes api and write_repository, or its owner the role Developer",
    404: "the project does not exist there, or its git_access_token may not see it",
}

log = structlog.get_logger()


class GitLabForge:
    """One project on GitLab, as the owner of a token sees it.

    The token needs the scopes api and write_repository, its owner the role Developer.
    """

    def __init__(self, address: RepositoryAddress, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._token = token
        self._project = f"/projects/{address.encoded_path}"
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "sdlc-agents"}
        self._api = Api(f"{address.base}/api/v4", address.host, address.path, headers, client, _HINTS)

    @property
    def clone_url(self) -> str:
        """Where git fetches and pushes."""
        return self._address.clone_url

    @property
    def credentials(self) -> Credentials:
        """What git is to say there."""
        return Credentials(self._address.origin, USERNAME, self._token)

    async def ensure_pull_request(self, text: PullRequestText) -> PullRequest:
        """The open merge request from the branch into its base, opened now unless there is one."""
        title = text.title
        if text.draft and not title.lower().startswith(_DRAFT.strip().lower()):
            title = _DRAFT + title
        document = {
            "source_branch": text.branch,
            "target_branch": text.base,
            "title": title[:_TITLE_CHARACTERS],
            "description": conversation.without_commands(text.body)[:_DESCRIPTION_CHARACTERS],
        }
        path = f"{self._project}/merge_requests"
        response = await self._api.call("POST", path, document, accept={_CREATED, _CONFLICT})
        if response.status_code == _CONFLICT:
            return twins.listed(await self._find(text.branch, text.base), self._address.host)
        made = _pull_request(response.json(), created=True)
        # GitLab lets two callers open the same merge request at one moment.
        kept = await twins.keep_older(made, await self._find(text.branch, text.base), self._close)
        if kept.created and text.reviewers:
            await self._request_reviews(kept.number, text.reviewers)
        return kept

    async def conversation(self, number: int) -> Conversation:
        """What was said on a merge request."""
        return await conversation.read(self._api, self._project, number)

    async def comment(self, number: int, body: str, marker: str) -> None:
        """Say something on a merge request, unless it was said before."""
        await conversation.say_once(self._api, self._project, number, body, marker)

    async def check(self, base_branch: str | None, *, follow_ups: bool = False) -> list[Problem]:
        """What keeps the agents from working there (token, rights, base branch); nothing is written. Never raises."""
        return await check.check(
            self._api, self._project, self._address, (USERNAME, self._token), base_branch, follow_ups=follow_ups
        )

    async def _close(self, number: int) -> None:
        path = f"{self._project}/merge_requests/{number}"
        await self._api.call("PUT", path, {"state_event": "close"}, accept={200})

    async def _find(self, branch: str, base: str) -> PullRequest | None:
        params = {"state": "opened", "source_branch": branch, "target_branch": base}
        shown = await self._api.pages(
            f"{self._project}/merge_requests", {**params, "order_by": "created_at", "sort": "asc"}
        )
        # A fork may have a branch of the same name.
        own = [each for each in shown if each["source_project_id"] == each["target_project_id"]]
        found = [_pull_request(each, created=False) for each in own]
        return min(found, key=lambda shown: shown.number, default=None)

    async def _request_reviews(self, number: int, reviewers: tuple[str, ...]) -> None:
        """By their ids; GitLab says who became one, and passes over those who may not (or who are one too many)."""
        try:
            ids = {name: await self._user_id(name) for name in reviewers}
            response = await self._api.call(
                "PUT",
                f"{self._project}/merge_requests/{number}",
                {"reviewer_ids": [found for found in ids.values() if found is not None]},
                accept={200},
            )
        except ForgeError as error:
            log.warning("reviewers_left_out", reviewers=reviewers, error=error.message)
            return
        taken = {reviewer["id"] for reviewer in response.json()["reviewers"]}
        for name, found in ids.items():
            if found not in taken:
                reason = "no such user" if found is None else "GitLab did not take this user as a reviewer"
                log.warning("reviewer_left_out", reviewer=name, error=reason)

    async def _user_id(self, name: str) -> int | None:
        response = await self._api.call("GET", "/users", accept={200}, params={"username": name})
        found: list[dict[str, Any]] = response.json()
        return int(found[0]["id"]) if found else None


def _pull_request(document: dict[str, Any], *, created: bool) -> PullRequest:
    return PullRequest(int(document["iid"]), str(document["web_url"]), created)
