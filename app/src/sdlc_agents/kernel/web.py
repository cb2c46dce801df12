"""What the HTTP APIs share: request ids, request metrics, and errors as `{"error": …}`.

`install` puts it all in place for a Starlette application; `sdlc_agents.configuration.app` adds what FastAPI needs, so
that a service without FastAPI does not load it.
"""

import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdlc_agents.kernel.errors import PayloadTooLargeError, ServiceError, UnavailableError
from sdlc_agents.kernel.metrics import HttpMetrics

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_REFUSED = {401, 403}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

log = structlog.get_logger()


class JsonResponse(Response):
    """JSON by orjson; aware datetimes come out as ISO 8601 with `Z`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body's bytes."""
        return orjson.dumps(content, option=orjson.OPT_UTC_Z)


FindTemplate = Callable[[str], str | None]
"""From a request's path to its route's template (`/api/projects/{project_id}`), None without such a route."""
IsOutage = Callable[[BaseException], bool]
"""Whether an exception says that the database is away; `sdlc_agents.kernel.mongo.is_outage` where there is one."""


class RequestMiddleware:
    """Gives each request an id (X-Request-ID in, out and in every log line), counts it, and logs a refused one.

    `template` names the route of a request that is answered before it is routed (a missing key, say).

    Also the last net: an exception that nothing else caught is answered 503 where `is_outage` says so, otherwise it is
    logged with its trace and answered 500.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: HttpMetrics,
        template: FindTemplate | None = None,
        is_outage: IsOutage | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._is_outage = is_outage or (lambda _error: False)
        self._template = template or (lambda _path: None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other scopes pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope["headers"])
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if status:
                log.exception("request_broken_off")
                raise
            if self._is_outage(error):
                error = UnavailableError("the database is not available")
            await _answer(error)(scope, receive, send_with_id)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            endpoint = _routed(scope) or self._template(scope["path"]) or "unmatched"
            if status in _REFUSED:
                address = scope["client"][0] if scope.get("client") else None
                log.warning("request_refused", method=method, endpoint=endpoint, status=status, address=address)
            self._metrics.observe(method, endpoint, status or 499, time.perf_counter() - started)


class BodyLimitMiddleware:
    """Refuses a body over `max_bytes` with 413: by its Content-Length before it is read, else when it gets too long."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other scopes pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        message = f"the body is larger than {self._max_bytes} bytes"
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise PayloadTooLargeError(message)
        size = 0

        async def receive_some() -> Message:
            nonlocal size
            part = await receive()
            size += len(part.get("body", b""))
            if size > self._max_bytes:
                # FastAPI lets no other exception out of the reading of a body.
                raise HTTPException(PayloadTooLargeError.status, message)
            return part

        await self._app(scope, receive_some, send)


def _routed(scope: Scope) -> str | None:
    """The path of the route that took the request (FastAPI says it, Starlette its endpoint), not the asked path."""
    route = scope.get("route")
    if route is None and (endpoint := scope.get("endpoint")) is not None:
        route = next((route for route in scope["app"].routes if getattr(route, "endpoint", None) is endpoint), None)
    return None if route is None else str(route.path)


def _request_id(headers: Sequence[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return uuid.uuid4().hex


def _answer(error: Exception) -> JsonResponse:
    if isinstance(error, ServiceError):
        if error.status >= 500:  # noqa: PLR2004
            log.warning("request_failed", code=error.code, error=error.message)
        return JsonResponse({"error": error.message}, error.status, error.headers)
    log.error("request_crashed", exc_info=error)
    return JsonResponse({"error": "internal error"}, 500)


async def _on_service_error(_request: Request, error: Exception) -> Response:
    return _answer(error)


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return JsonResponse({"error": str(error.detail).lower()}, error.status_code, error.headers)


def describe(errors: Sequence[Any]) -> str:
    """Pydantic's errors as one sentence: `name: Field required; repositories.0.url: …`, without the given values."""
    parts = []
    for detail in errors:
        place = [str(step) for step in detail["loc"] if step not in {"body", "query", "path", "header"}]
        message = str(detail["msg"]).removeprefix("Value error, ")
        parts.append(f"{'.'.join(place) or 'body'}: {message}")
    return "; ".join(parts)


def install(
    app: Starlette,
    registry: CollectorRegistry,
    template: FindTemplate | None = None,
    is_outage: IsOutage | None = None,
) -> None:
    """Give the application request ids, metrics and `{"error": …}` answers; the rest as in `RequestMiddleware`."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(RequestMiddleware, metrics=HttpMetrics(registry), template=template, is_outage=is_outage)
