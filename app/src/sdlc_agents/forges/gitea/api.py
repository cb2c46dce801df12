"""One repository's part of Gitea's API v1, with its refusals said for people: https://docs.gitea.com/api/"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.calls import Api
from sdlc_agents.forges.owners import token_owner

PAGE = 50
_PAGES = 20
_HINTS = {
    401: "the repository's git_access_token is not valid there",
    404: "the repository does not exist there, or its git_access_token may not see it",
}


class GiteaApi:
    """Calls with one token."""

    def __init__(self, address: RepositoryAddress, token: str, client: httpx.AsyncClient) -> None:
        headers = {"Authorization": f"token {token}"}
        self._api = Api(f"{address.base}/api/v1", address.host, address.path, headers, client, _HINTS)
        self._repository = f"/repos/{quote(address.owner, safe='')}/{quote(address.name, safe='')}"

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
        return await self._needing(right).call(method, f"{self._repository}/{path}", document, accept=accept)

    async def pages(self, path: str, query: str = "") -> list[dict[str, Any]]:
        """All items of a list, page by page; `query` narrows it."""
        found: list[dict[str, Any]] = []
        for page in range(1, _PAGES + 1):
            response = await self.call("GET", f"{path}?page={page}&limit={PAGE}{query}", accept={200})
            shown = response.json()
            found.extend(shown)
            # Not by the page's length: a site may allow shorter ones only.
            if not shown or len(found) >= int(response.headers.get("X-Total-Count", 0)):
                break
        return found

    async def login(self) -> str:
        """The user name of the token's owner; needs the scope read:user."""
        return await token_owner(self._needing("read:user"), "login")

    def _needing(self, right: str) -> Api:
        hints = {**_HINTS, 403: f"the repository's git_access_token lacks the right {right}"}
        return replace(self._api, hints=hints)
