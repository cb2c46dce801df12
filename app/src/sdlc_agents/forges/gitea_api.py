"""One repository's part of Gitea's API v1, with its refusals said for people: https://docs.gitea.com/api/"""

from typing import Any
from urllib.parse import quote

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.model import ForgeError, ForgeUnavailableError

_SECONDS = 20.0
_UNAVAILABLE = {408, 425, 429, 500, 502, 503, 504}


class GiteaApi:
    """Calls with one token."""

    def __init__(self, address: RepositoryAddress, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._token = token
        self._client = client

    async def call(
        self,
        method: str,
        path: str,
        document: dict[str, Any] | None = None,
        *,
        accept: set[int],
        right: str = "write:repository",
    ) -> httpx.Response:
        """A call about the repository. `right` is the token's scope that the call needs."""
        address = self._address
        repository = f"repos/{quote(address.owner, safe='')}/{quote(address.name, safe='')}"
        return await self._send(method, f"{repository}/{path}", document, accept, right)

    async def login(self) -> str:
        """The user name of the token's owner; needs the scope read:user."""
        response = await self._send("GET", "user", None, {200}, "read:user")
        return str(response.json()["login"])

    async def _send(
        self, method: str, path: str, document: dict[str, Any] | None, accept: set[int], right: str
    ) -> httpx.Response:
        address = self._address
        try:
            response = await self._client.request(
                method,
                f"{address.base}/api/v1/{path}",
                json=document,
                headers={"Authorization": f"token {self._token}"},
                timeout=_SECONDS,
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
            403: f"the repository's git_access_token lacks the right {right}",
            404: "the repository does not exist there, or its git_access_token may not see it",
        }
        hint = hints.get(response.status_code, "the request was refused")
        raise ForgeError(f"{address.base}/{address.owner}/{address.name}: {hint} ({response.status_code}: {said})")


def _message(response: httpx.Response) -> str:
    try:
        document = response.json()
    except ValueError:
        return response.text[:200]
    return str(document.get("message", ""))[:300] if isinstance(document, dict) else ""
