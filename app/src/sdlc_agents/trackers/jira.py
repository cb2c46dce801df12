"""Comments on Jira tickets and moves of them, in Data Center (personal access token) and Cloud (e-mail and API token).

https://developer.atlassian.com/server/jira/platform/rest/v10000/ and
https://developer.atlassian.com/cloud/jira/platform/rest/v2/api-group-issue-comments/: version 2 of the API takes plain
text in both.
"""

from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from sdlc_agents.kernel.errors import ServiceError

_SECONDS = 15.0
_COMMENT_CHARACTERS = 30_000
_COMMENTS_READ = 100
_REASON_CHARACTERS = 500
_LONGEST_WAIT = 3600
_FINAL = {400, 404, 405, 410, 413, 422}


class TrackerError(ServiceError):
    """Jira did not do what it was asked; the message says why. Trying again later may help.

    `retry_after` is in how many seconds Jira wants to be asked again, None where it did not say.
    """

    status = 502
    code = "tracker_failed"

    def __init__(self, message: str, *, answered: int | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.answered = answered
        self.retry_after = retry_after


class CommentRefusedError(TrackerError):
    """Jira will not take this, however often it is sent: the ticket is gone, say."""

    code = "comment_refused"


class MoveRefusedError(ServiceError):
    """The ticket's workflow, or the token's rights, stand against a move; the message says what to do."""

    status = 409
    code = "move_refused"


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

    async def commented(self, issue_key: str, marker: str) -> bool:
        """Whether one of the ticket's latest comments holds `marker`. Raises `TrackerError`."""
        listing = {"orderBy": "-created", "maxResults": str(_COMMENTS_READ)}
        latest = await self._call("GET", _path(issue_key, "/comment"), params=listing)
        return any(marker in str(comment.get("body")) for comment in _documents(latest.get("comments")))

    async def comment(self, issue_key: str, text: str) -> None:
        """Add a comment. Raises `TrackerError`."""
        await self._call("POST", _path(issue_key, "/comment"), document={"body": text[:_COMMENT_CHARACTERS]})

    async def move(self, issue_key: str, status: str) -> None:
        """Move the ticket to the status of this name, in whatever case; nothing where it is in it already.

        Raises `MoveRefusedError` when the workflow has no such transition from where the ticket is, it wants fields
        filled in, or the token has no right to it; `TrackerError` when Jira cannot be asked.
        """
        issue = await self._call("GET", _path(issue_key), params={"fields": "status"})
        before = _status_name((issue.get("fields") or {}).get("status"))
        if _same(before, status):
            return
        path = _path(issue_key, "/transitions")
        offered = _documents((await self._call("GET", path)).get("transitions"))
        fitting = [entry for entry in offered if _same(_status_name(entry.get("to")), status)]
        if not fitting:
            raise MoveRefusedError(
                f'its workflow offers no transition from "{before}" to "{status}" to the user of JIRA_API_TOKEN: add '
                "one, give that user the right to transition issues, or change ticket in the project"
            )
        try:
            await self._call("POST", path, document={"transition": {"id": str(fitting[0].get("id"))}})
        except TrackerError as error:
            if error.answered not in {400, 403, 404, 409}:
                raise
            raise MoveRefusedError(
                f'Jira refused the transition from "{before}" to "{status}": {error.message}; it must be one that '
                "needs no field to be filled in"
            ) from error

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
            try:
                answer = response.json() if response.content else {}
            except ValueError as error:
                raise TrackerError(f"{self._url} answered something that is not JSON: is it a Jira?") from error
            return answer if isinstance(answer, dict) else {}
        hints = {
            401: "JIRA_API_TOKEN is not valid there",
            403: "JIRA_API_TOKEN has no right to do that with this ticket",
            404: "the ticket does not exist there, or JIRA_API_TOKEN may not see it",
            429: "it wants to be asked less often",
        }
        kind = CommentRefusedError if response.status_code in _FINAL else TrackerError
        told = hints.get(response.status_code) or _reason(response)
        raise kind(
            f"{self._url} answered {response.status_code} to {method} {path}" + (f": {told}" if told else ""),
            answered=response.status_code,
            retry_after=_retry_after(response),
        )


def _path(issue_key: str, part: str = "") -> str:
    return f"/rest/api/2/issue/{quote(issue_key, safe='')}{part}"


def _documents(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _status_name(status: object) -> str:
    return str(status.get("name") or "") if isinstance(status, dict) else ""


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _reason(response: httpx.Response) -> str:
    """What Jira says was wrong, in its own words: `{"errorMessages": […], "errors": {field: …}}`."""
    try:
        answer = response.json()
    except ValueError:
        return ""
    if not isinstance(answer, dict):
        return ""
    messages, fields = answer.get("errorMessages"), answer.get("errors")
    parts = [str(message) for message in messages] if isinstance(messages, list) else []
    parts += [f"{name}: {problem}" for name, problem in fields.items()] if isinstance(fields, dict) else []
    return "; ".join(parts)[:_REASON_CHARACTERS]


def _retry_after(response: httpx.Response) -> int | None:
    given = response.headers.get("Retry-After", "")
    return min(int(given), _LONGEST_WAIT) if given.isdecimal() else None
