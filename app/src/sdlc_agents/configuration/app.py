"""The application: every domain's endpoints, behind the key check."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from sdlc_agents import __version__
from sdlc_agents.apikeys.middleware import DOCUMENT, ApiKeyMiddleware
from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.apikeys.service import ApiKeyService
from sdlc_agents.audit import AuditLog
from sdlc_agents.configuration import openapi
from sdlc_agents.configuration.routes import HEALTH, ROUTERS, RouteTable
from sdlc_agents.developments.service import DevelopmentService
from sdlc_agents.events.repository import EventRepository
from sdlc_agents.kernel import web
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.health import healthy
from sdlc_agents.kernel.mongo import Database, is_outage
from sdlc_agents.projects.forge_checks import ForgeCheckService
from sdlc_agents.projects.schemas import Trigger
from sdlc_agents.projects.service import ProjectService

MAX_BODY_BYTES = 1024 * 1024


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return web.JsonResponse({"error": web.describe(error.errors())}, 400)


def create_app(
    db: Database, cipher: FieldCipher, registry: CollectorRegistry, *, trigger_status: str = Trigger().status
) -> FastAPI:
    """The configuration API over a database. `trigger_status` is that of projects without a trigger of their own."""
    app = FastAPI(title="Configuration API", version=__version__, openapi_url=None, redirect_slashes=False)
    table = RouteTable(ROUTERS, (HEALTH, DOCUMENT))

    described = openapi.document()

    async def describe() -> Response:
        """This API as an OpenAPI 3.1 document."""
        return web.JsonResponse(described)

    async def on_wrong_method(request: Request, _error: Exception) -> Response:
        """FastAPI's own answer names the methods of one of the path's routes alone."""
        allowed = ", ".join(table.methods(request.url.path))
        return web.JsonResponse({"error": "method not allowed"}, 405, {"Allow": allowed})

    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(405, on_wrong_method)
    app.state.api_keys = ApiKeyService(db)
    app.state.projects = ProjectService(db, cipher, trigger_status)
    app.state.project_checks = ForgeCheckService(db)
    app.state.developments = DevelopmentService(db)
    app.state.events = EventRepository(db)
    app.state.audit_log = AuditLog(db)
    app.add_api_route(HEALTH, healthy, include_in_schema=False)
    app.add_api_route(DOCUMENT, describe, include_in_schema=False)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(web.BodyLimitMiddleware, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(ApiKeyMiddleware, repository=ApiKeyRepository(db))
    web.install(app, registry, table.template, is_outage)
    return app
