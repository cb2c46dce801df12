"""Comments on Jira tickets, in Data Center (personal access token) and Cloud (e-mail and API token).

https://developer.atlassian.com/server/jira/platform/rest/v10000/ and
https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-comments/: version 2 of the API takes plain
text in both.
"""

from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from sdlc_agents.errors import ServiceError

_SECONDS = 15.0
_COMMENT_CHARACTERS = 30_000
_COMMENTS_READ = 100
_FINAL = {400, 404, 405, 410, 413, 422}


class TrackerError(ServiceError):
    """Jira did not take a comment; the message says why. Trying again later may help."""

    status = 502
    code = "tracker_failed"


class CommentRefusedError(TrackerError):
    """Jira will not take this comment, however often it is sent: the ticket is gone, say."""

    code = "comment_refused"


class Jira:
    """One Jira. With a `user` (an e-mail address) the token is Cloud's, without one a personal access token."""

    def __init__(self, url: str, token: SecretStr, user: str | None, client: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._user = user
        self._client = client

    def browse_url(self, issue_key: str) -> str:
        """Where people read the ticket."""
        return f"{self._url}/browse/{quote(issue_key, safe='')}"

    async def comment_once(self, issue_key: str, text: str, *, marker: str) -> bool:
        """Add a comment unless one of the latest holds `marker`; True when it was added now. Raises `TrackerError`."""
        path = f"/rest/api/2/issue/{quote(issue_key, safe='')}/comment"
        latest = await self._call("GET", path, params={"orderBy": "-created", "maxResults": str(_COMMENTS_READ)})
        if any(marker in str(comment.get("body")) for comment in _documents(latest.get("comments"))):
            return False
        await self._call("POST", path, document={"body": text[:_COMMENT_CHARACTERS]})
        return True

    async def _call(
        self, method: str, path: str, *, params: dict[str, str] | None = None, document: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        secret = self._token.get_secret_value()
        auth = httpx.BasicAuth(self._user, secret) if self._user else None
        headers = {} if auth else {"Authorization": f"Bearer {secret}"}
        try:
            response = await self._client.request(
                method, self._url + path, params=params, json=document, headers=headers, auth=auth, timeout=_SECONDS
            )
        except httpx.HTTPError as error:
            raise TrackerError(f"{self._url} does not answer: {type(error).__name__}") from error
        if response.is_success:
            answer = response.json()
            return answer if isinstance(answer, dict) else {}
        hints = {
            401: "JIRA_API_TOKEN is not valid there",
            403: "JIRA_API_TOKEN may not comment on this ticket",
            404: "the ticket does not exist there, or JIRA_API_TOKEN may not see it",
        }
        kind = CommentRefusedError if response.status_code in _FINAL else TrackerError
        raise kind(
            f"{self._url} answered {response.status_code} to {method} {path}"
            + (f": {hint}" if (hint := hints.get(response.status_code)) else "")
        )


def _documents(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
