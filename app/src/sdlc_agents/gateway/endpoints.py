"""The addresses of the Messages API that an agent needs, and the egress proxy's; errors have that API's shape.

A plain ASGI application: a framework's layers would cost more than what is done here.
https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sdlc_agents.gateway.bodies import read
from sdlc_agents.gateway.egress import QUESTION_BYTES, Egress
from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.forwarding import Gateway
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.metrics import HttpMetrics
from sdlc_agents.kernel.mongo import is_outage
from sdlc_agents.kernel.web import JsonResponse, RequestMiddleware


@dataclass(frozen=True, slots=True)
class _Route:
    """One path; `path` is what metrics call it."""

    path: str
    answer: Callable[[Request], Awaitable[Response]]


class _Application:
    """Three addresses; everything else is 404."""

    def __init__(self, gateway: Gateway, egress: Egress) -> None:
        self._gateway = gateway
        self._egress = egress
        routes = (
            _Route("/v1/messages", self._messages),
            _Route("/v1/messages/count_tokens", self._count_tokens),
            _Route("/v1/egress", self._may_pass),
        )
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._choose(scope)(Request(scope, receive))
        except GatewayError as error:
            response = JsonResponse(error.document(), error.status, error.headers())
        await response(scope, receive, send)

    def _choose(self, scope: Scope) -> Callable[[Request], Awaitable[Response]]:
        route = self._routes.get(scope["path"])
        if route is None:
            raise GatewayError(404, "this gateway has no such address")
        scope["route"] = route
        if scope["method"] != "POST":
            raise GatewayError(405, "this address takes POST alone")
        return route.answer

    async def _messages(self, request: Request) -> Response:
        return await self._gateway.forward(request, "/v1/messages", counted=True)

    async def _count_tokens(self, request: Request) -> Response:
        return await self._gateway.forward(request, "/v1/messages/count_tokens", counted=False)

    async def _may_pass(self, request: Request) -> Response:
        try:
            allowed = await self._egress.decide(await read(request, QUESTION_BYTES))
        except UnavailableError as error:
            raise GatewayError(503, error.message, retry_after=2) from error
        if not allowed:
            raise GatewayError(403, "no open job of this token may reach this host")
        return Response(status_code=204)


def create_app(gateway: Gateway, egress: Egress, registry: CollectorRegistry) -> ASGIApp:
    """The application."""
    return RequestMiddleware(_Application(gateway, egress), HttpMetrics(registry), is_outage=is_outage)
