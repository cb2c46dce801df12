"""The two addresses of the Messages API that an agent needs, and errors in that API's shape."""

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.forwarding import Gateway
from sdlc_agents.web import JsonResponse


def router(gateway: Gateway) -> APIRouter:
    """The routes; everything else is 404."""
    routes = APIRouter()

    @routes.post("/v1/messages")
    async def messages(request: Request) -> Response:
        return await gateway.forward(request, "/v1/messages", counted=True)

    @routes.post("/v1/messages/count_tokens")
    async def count_tokens(request: Request) -> Response:
        return await gateway.forward(request, "/v1/messages/count_tokens", counted=False)

    return routes


def install_errors(app: FastAPI) -> None:
    """Answer refusals and unknown addresses as the Messages API would."""

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)  # noqa: S101
        return JsonResponse(error.document(), error.status, error.headers())

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        return await refused(request, GatewayError(error.status_code, "this gateway has no such address"))

    app.add_exception_handler(GatewayError, refused)
    app.add_exception_handler(HTTPException, unknown)
