"""Every domain's routes, and which of them a path belongs to."""

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.routing import Route, compile_path

from sdlc_agents.apikeys import endpoints as apikeys
from sdlc_agents.audit import endpoints as audit
from sdlc_agents.developments import endpoints as developments
from sdlc_agents.events import endpoints as events
from sdlc_agents.projects import endpoints as projects

HEALTH = "/health"

ROUTERS: tuple[APIRouter, ...] = (
    projects.projects,
    projects.repositories,
    developments.router,
    events.router,
    apikeys.router,
    audit.router,
)


class RouteTable:
    """Templates and methods by path, for requests that are answered before they are routed."""

    def __init__(self, routers: Iterable[APIRouter], others: Iterable[str]) -> None:
        known: dict[str, set[str]] = {path: {"GET"} for path in others}
        for router in routers:
            for route in router.routes:
                assert isinstance(route, Route)  # noqa: S101
                known.setdefault(route.path, set()).update(route.methods or ())
        self._known = [(compile_path(template)[0], template, methods) for template, methods in known.items()]

    def template(self, path: str) -> str | None:
        """The template of the route that the path belongs to."""
        return next((template for pattern, template, _ in self._known if pattern.match(path)), None)

    def methods(self, path: str) -> list[str]:
        """The methods that the path knows, sorted."""
        return sorted(method for pattern, _, methods in self._known if pattern.match(path) for method in methods)
