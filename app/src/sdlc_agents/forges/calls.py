"""One call of a forge's API, and what its refusals mean. Shared by the providers.

A redirect is never followed: the token would go with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from sdlc_agents.forges.model import ForgeError, ForgeUnavailableError
from sdlc_agents.kernel.clock import now

PAGE = 100
_PAGES = 50
_SECONDS = 20.0
_UNAVAILABLE = {408, 425, 429, 500, 502, 503, 504}
_SECONDS_OF_A_LIMIT = 60
_LONGEST_LIMIT_SECONDS = 86_400
_RESERVE = 0.2
"""The part of a rate limit that looks at pull requests leave to the runs."""


@dataclass(frozen=True)
class Api:
    """Calls below `url` with `headers`, which carry the token.

    `repository` names the repository in messages, `hints` what a status means there.
    """

    url: str
    host: str
    repository: str
    headers: Mapping[str, str] = field(repr=False)
    client: httpx.AsyncClient = field(repr=False)
    hints: Mapping[int, str]

    async def call(
        self,
        method: str,
        path: str,
        document: dict[str, Any] | None = None,
        *,
        accept: set[int],
        params: Mapping[str, str | int] | None = None,
    ) -> httpx.Response:
        """The answer, when its status is one of `accept`; raises `ForgeUnavailableError` or `ForgeError` otherwise."""
        request = self.client.build_request(
            method, self.url + path, json=document, params=params, headers=dict(self.headers), timeout=_SECONDS
        )
        try:
            response = await self.send(request)
        except httpx.HTTPError as error:
            raise ForgeUnavailableError(f"{self.host} does not answer: {type(error).__name__}") from error
        if response.status_code not in accept:
            raise self.refused(response)
        if json_or_none(response) is None:
            raise ForgeError(
                f"{self.host}/{self.repository}: the answer ({response.status_code}) is not what the API says: does a "
                "login page or another proxy stand before it?"
            )
        return response

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer, whatever it is. Redirects are not followed."""
        return await self.client.send(request, follow_redirects=False)

    async def pages(self, path: str, params: Mapping[str, str | int] | None = None) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            given = {**(params or {}), "per_page": PAGE, "page": page}
            found = (await self.call("GET", path, accept={200}, params=given)).json()
            items += found
            if len(found) < PAGE:
                break
        return items

    def refused(self, response: httpx.Response) -> ForgeError:
        """What an answer that was not hoped for means."""
        status, said = response.status_code, message(response)
        until = limited_until(response)
        if until is not None:
            return ForgeUnavailableError(
                f"{self.host} takes no more requests of this git_access_token until {until:%Y-%m-%d %H:%M:%S} UTC: "
                f"its rate limit is used up ({status})"
            )
        if status in _UNAVAILABLE:
            return ForgeUnavailableError(f"{self.host} answered {status}: {said}")
        if response.is_redirect:
            hint = "the repository has moved: set its url to the new address"
        else:
            hint = self.hints.get(status, "the request was refused")
        return ForgeError(f"{self.host}/{self.repository}: {hint} ({status}: {said})")


def limited_until(response: httpx.Response) -> datetime | None:
    """When a rate limit ends, for an answer that says there is one.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit,
    https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits/#response-headers
    """
    if response.status_code not in {403, 429}:
        return None
    headers = response.headers
    after, remaining = headers.get("retry-after", ""), headers.get("x-ratelimit-remaining")
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or ""
    seconds: float | None = None
    if after.isdigit():
        seconds = int(after)
    elif (remaining == "0" or response.status_code == httpx.codes.TOO_MANY_REQUESTS) and reset.isdigit():
        seconds = int(reset) - now().timestamp()
    elif remaining == "0" or "rate limit" in message(response).lower():
        seconds = _SECONDS_OF_A_LIMIT
    if seconds is None:
        return None
    return now() + timedelta(seconds=min(max(seconds, 1), _LONGEST_LIMIT_SECONDS))


def rests_until(response: httpx.Response) -> datetime | None:
    """Until when looks must wait, for an answer that says how little of the rate limit is left; runs need the rest.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#checking-the-status-of-your-rate-limit
    """
    told = [response.headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "reset")]
    if not all(value.isdecimal() for value in told):
        return None
    limit, remaining, reset = map(int, told)
    if remaining >= limit * _RESERVE:
        return None
    return datetime.fromtimestamp(min(reset, int(now().timestamp()) + _LONGEST_LIMIT_SECONDS), UTC)


def json_or_none(response: httpx.Response) -> Any:
    """The answer's document; None when it has none."""
    try:
        return response.json()
    except ValueError:
        return None


def message(response: httpx.Response) -> str:
    """What the forge says, in at most 300 characters."""
    document = json_or_none(response)
    if document is None:
        return response.text[:200]
    if not isinstance(document, dict):
        return ""
    said = [document.get("message"), document.get("error_description") or document.get("error")]
    details = document.get("errors")
    said += [_detail(detail) for detail in details] if isinstance(details, list) else []
    return "; ".join(_flat(part) for part in said if part)[:300]


def _detail(detail: Any) -> str:
    if not isinstance(detail, dict):
        return str(detail)
    return str(detail.get("message") or f"{detail.get('field')} is {detail.get('code')}")


def _flat(said: Any) -> str:
    if isinstance(said, dict):
        return ", ".join(f"{name}: {_flat(value)}" for name, value in said.items())
    return ", ".join(_flat(value) for value in said) if isinstance(said, list) else str(said)
