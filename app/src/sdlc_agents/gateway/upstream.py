"""The way to the model's API: which headers go out, which come back, and the key.

By httpcore, which is what httpx is made of: its layers above cost as much again, and every request waits for them.
https://www.encode.io/httpcore/
"""

import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore

from sdlc_agents.gateway.bodies import Body
from sdlc_agents.gateway.settings import GatewaySettings

OAUTH_BETA = "oauth-2025-04-20"
FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError, httpcore.UnsupportedProtocol)
"""The API could not be reached; that it took too long is `httpcore.TimeoutException`."""

_SENT = ("accept", "anthropic-version", "content-type", "user-agent", "x-app")
_SENT_PREFIXES = ("x-stainless-", "x-claude-code-")
_RETURNED = ("content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry", "cache-control")
_RETURNED_PREFIXES = ("anthropic-ratelimit-",)
_TIMEOUT = {"connect": 10.0, "read": 600.0, "write": 60.0, "pool": 10.0}
# An agent's tools may run for minutes between two requests, and a new connection costs a TLS handshake.
_IDLE_SECONDS = 300.0


@dataclass(frozen=True)
class UpstreamAnswer:
    """The API's answer, its body still to be read; to be closed. `headers` are those that the runner may see."""

    status: int
    headers: dict[str, str]
    response: httpcore.Response

    def body(self) -> AsyncIterator[bytes]:
        """The bytes as they come."""
        return self.response.aiter_stream()

    async def close(self) -> None:
        """Give the connection back."""
        await self.response.aclose()


class Upstream:
    """An HTTP client of the Messages API. Close it when done."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._base = settings.claude_api_url
        self._key, self._session = settings.anthropic_api_key, settings.claude_code_session_token
        options: dict[str, Any] = {
            "ssl_context": ssl.create_default_context(cafile=settings.extra_ca_file),
            "max_connections": 200,
            "max_keepalive_connections": 20,
            "keepalive_expiry": _IDLE_SECONDS,
        }
        self._pool: httpcore.AsyncConnectionPool = (
            httpcore.AsyncConnectionPool(**options)
            if settings.egress_proxy_url is None
            else httpcore.AsyncHTTPProxy(settings.egress_proxy_url, **options)
        )

    async def send(self, path: str, query: str, headers: Iterable[tuple[str, str]], body: Body) -> UpstreamAnswer:
        """Send the request. Raises `FAILURES` when the API cannot be reached, `httpcore.TimeoutException`."""
        url = httpcore.URL(f"{self._base}{path}{f'?{query}' if query else ''}")
        request = httpcore.Request(
            "POST",
            url,
            headers=[(b"host", _host(url)), *self._headers(headers), (b"content-length", b"%d" % body.size)],
            content=body,
            extensions={"timeout": _TIMEOUT},
        )
        response = await self._pool.handle_async_request(request)
        return UpstreamAnswer(response.status, dict(_returned(response.headers)), response)

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    def _headers(self, given: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
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
        return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def _host(url: httpcore.URL) -> bytes:
    standard = {b"http": 80, b"https": 443}.get(url.scheme)
    return url.host if url.port in {None, standard} else b"%b:%d" % (url.host, url.port)


def _returned(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    for name, value in headers:
        given = name.decode("latin-1").lower()
        if given in _RETURNED or given.startswith(_RETURNED_PREFIXES):
            yield given, value.decode("latin-1")
