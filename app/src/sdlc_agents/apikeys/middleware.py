"""Lets a request in: X-API-Key, before anything of its body is read.

401 without a key, 403 with an unknown one or one whose scopes do not reach far enough: reading wants `read`, changing
`write`, managing keys and reading the audit log `admin`.
"""

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.apikeys.usage import LastUsed
from sdlc_agents.kernel import callers
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.errors import ForbiddenError, UnauthorizedError

PROTECTED = "/api/"
DOCUMENT = "/openapi.json"
ADMIN = ("/api/api-keys", "/api/audit-log")


class ApiKeyMiddleware:
    """Puts the `Caller` into the request's state, or raises. Paths outside of `/api/` pass, but for `DOCUMENT`."""

    def __init__(self, app: ASGIApp, repository: ApiKeyRepository) -> None:
        self._app = app
        self._repository = repository
        self._last_used = LastUsed(repository)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other scopes pass."""
        if scope["type"] == "http" and (scope["path"].startswith(PROTECTED) or scope["path"] == DOCUMENT):
            caller = await self._authenticate(scope)
            needed = required_scope(scope["method"], scope["path"])
            if not caller.may(needed):
                raise ForbiddenError(f"this API key does not have the scope {needed}")
            scope.setdefault("state", {})["caller"] = caller
            structlog.contextvars.bind_contextvars(caller=caller.name)
        await self._app(scope, receive, send)

    async def _authenticate(self, scope: Scope) -> Caller:
        key = Headers(scope=scope).get("x-api-key")
        if not key:
            raise UnauthorizedError("API key required")
        document = await self._repository.find_valid(key)
        if document is None:
            raise ForbiddenError("invalid API key")
        self._last_used.note(document)
        return Caller(
            key_id=document["_id"],
            name=document["name"],
            scopes=frozenset(callers.Scope(name) for name in document["scopes"]),
            address=scope["client"][0] if scope.get("client") else "",
        )


def required_scope(method: str, path: str) -> callers.Scope:
    """How far a key must reach for this request."""
    if any(path == prefix or path.startswith(f"{prefix}/") for prefix in ADMIN):
        return callers.Scope.ADMIN
    return callers.Scope.READ if method in {"GET", "HEAD", "OPTIONS"} else callers.Scope.WRITE


def caller(request: Request) -> Caller:
    """The caller that the middleware let in (a dependency of endpoints)."""
    found: Caller = request.state.caller
    return found
