"""The way to the model's API: which headers go out, which come back, and the key."""

import ssl
from collections.abc import Iterable

import httpx

from sdlc_agents.gateway.settings import GatewaySettings

OAUTH_BETA = "oauth-2025-04-20"

_SENT = ("accept", "anthropic-version", "content-type", "user-agent", "x-app")
_SENT_PREFIXES = ("x-stainless-", "x-claude-code-")
_RETURNED = ("content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry", "cache-control")
_RETURNED_PREFIXES = ("anthropic-ratelimit-",)
# An agent's tools may run for minutes between two requests, and a new connection costs a TLS handshake.
_IDLE_SECONDS = 300
_TIMEOUT = httpx.Timeout(600, connect=10, write=60, pool=10)


class Upstream:
    """An HTTP client of the Messages API. Close it when done."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._base = settings.claude_api_url
        self._key, self._session = settings.anthropic_api_key, settings.claude_code_session_token
        self._client = httpx.AsyncClient(
            proxy=settings.egress_proxy_url,
            verify=ssl.create_default_context(cafile=settings.extra_ca_file),
            timeout=_TIMEOUT,
            trust_env=False,
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=20, keepalive_expiry=_IDLE_SECONDS),
        )

    async def send(self, path: str, query: str, headers: Iterable[tuple[str, str]], body: bytes) -> httpx.Response:
        """Send the request; the answer's body is still to be read, and to be closed.

        Raises `httpx.HTTPError` when the API cannot be reached.
        """
        url = httpx.URL(f"{self._base}{path}", query=query.encode() or None)
        request = self._client.build_request("POST", url, headers=self._headers(headers), content=body)
        return await self._client.send(request, stream=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _headers(self, given: Iterable[tuple[str, str]]) -> dict[str, str]:
        headers: dict[str, str] = {}
        betas: list[str] = []
        for name, value in given:
            if name == "anthropic-beta":
                betas += [beta for beta in (piece.strip() for piece in value.split(",")) if beta]
            elif name in _SENT or name.startswith(_SENT_PREFIXES):
                headers[name] = value
        # Compressed answers could not be counted as they pass.
        headers["accept-encoding"] = "identity"
        if self._key is not None:
            headers["x-api-key"] = self._key.get_secret_value()
        elif self._session is not None:
            headers["authorization"] = f"Bearer {self._session.get_secret_value()}"
            betas = [*(beta for beta in betas if beta != OAUTH_BETA), OAUTH_BETA]
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        return headers


def returned(response: httpx.Response) -> dict[str, str]:
    """The headers of an answer that the runner may see."""
    return {
        name: value
        for name, value in response.headers.items()
        if name in _RETURNED or name.startswith(_RETURNED_PREFIXES)
    }
