"""The application: every domain's endpoints, behind the key check."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from sdlc_agents import __version__, web
from sdlc_agents.apikeys import endpoints as apikeys
from sdlc_agents.apikeys.middleware import ApiKeyMiddleware
from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.apikeys.service import ApiKeyService
from sdlc_agents.developments import endpoints as developments
from sdlc_agents.developments.repository import DevelopmentRepository
from sdlc_agents.encryption import FieldCipher
from sdlc_agents.events import endpoints as events
from sdlc_agents.events.repository import EventRepository
from sdlc_agents.health import healthy
from sdlc_agents.mongo import Database
from sdlc_agents.projects import endpoints as projects
from sdlc_agents.projects.service import ProjectService

MAX_BODY_BYTES = 1024 * 1024


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return web.JsonResponse({"error": web.describe(error.errors())}, 400)


def create_app(db: Database, cipher: FieldCipher, registry: CollectorRegistry) -> FastAPI:
    """The configuration API over a database."""
    app = FastAPI(title="Configuration API", version=__version__, openapi_url=None, max_body_size=MAX_BODY_BYTES)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.state.api_keys = ApiKeyService(db)
    app.state.projects = ProjectService(db, cipher)
    app.state.developments = DevelopmentRepository(db)
    app.state.events = EventRepository(db)
    app.add_api_route("/health", healthy, include_in_schema=False)
    for router in (
        projects.projects,
        projects.repositories,
        developments.router,
        events.router,
        apikeys.router,
    ):
        app.include_router(router)
    app.add_middleware(ApiKeyMiddleware, repository=ApiKeyRepository(db))
    web.install(app, registry)
    return app
