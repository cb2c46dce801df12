"""A few fixed paths that answer JSON: a plain ASGI application, where a router's layers would cost more than the work.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from sdlc_agents.kernel.errors import NotFoundError, ServiceError

Handler = Callable[[Request], Awaitable[Mapping[str, str]]]
"""Answers 200 with what it returns; raises `ServiceError` for everything else."""


class MethodNotAllowedError(ServiceError):
    """The path knows other methods."""

    status = 405
    code = "method_not_allowed"


@dataclass(frozen=True, slots=True)
class FixedRoute:
    """One path; `path` is what metrics call it."""

    path: str
    methods: frozenset[str]
    handler: Handler


class FixedRoutes:
    """The application; errors are for the middleware around it to answer."""

    def __init__(self, *routes: FixedRoute) -> None:
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises `NotFoundError`, `MethodNotAllowedError` and what the handler raises."""
        route = self._routes.get(scope["path"])
        if route is None:
            raise NotFoundError("not found")
        scope["route"] = route
        if scope["method"] not in route.methods:
            raise MethodNotAllowedError("method not allowed", headers={"Allow": ", ".join(sorted(route.methods))})
        body = orjson.dumps(await route.handler(Request(scope, receive)))
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
