"""/api/projects and /api/repositories."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from sdlc_agents.apikeys.middleware import caller
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.paging import Cursor, KeyFilter, Limit
from sdlc_agents.projects import revisions
from sdlc_agents.projects.forge_checks import WAIT_SECONDS, ForgeCheckService
from sdlc_agents.projects.revisions import IfMatch
from sdlc_agents.projects.schemas import (
    CheckOutput,
    CheckState,
    ProjectInput,
    ProjectOutput,
    RepositoryInput,
    RepositoryOutput,
)
from sdlc_agents.projects.service import ProjectService

_REVISION: dict[str, Any] = {
    "headers": {"ETag": {"description": "The project's revision", "schema": {"type": "string"}}}
}
_NEXT_PAGE: dict[str, Any] = {
    "headers": {"Link": {"description": "Where the next page is, when there is one", "schema": {"type": "string"}}}
}
_LATER: dict[str, Any] = {
    "model": CheckOutput,
    "description": "Not done yet",
    "headers": {"Location": {"description": "Where the results come", "schema": {"type": "string"}}},
}

projects = APIRouter(prefix="/api/projects", tags=["projects"])
repositories = APIRouter(prefix="/api/repositories", tags=["repositories"])


def _service(request: Request) -> ProjectService:
    service: ProjectService = request.app.state.projects
    return service


def _checks(request: Request) -> ForgeCheckService:
    service: ForgeCheckService = request.app.state.project_checks
    return service


Service = Annotated[ProjectService, Depends(_service)]
Checks = Annotated[ForgeCheckService, Depends(_checks)]
By = Annotated[Caller, Depends(caller)]
ProjectId = Annotated[str, Query(min_length=1, max_length=255, description="The project that has it.")]
Wait = Annotated[int, Query(ge=0, le=WAIT_SECONDS, description="How long to wait for the results, in seconds.")]
OptionalLimit = Annotated[int | None, *Limit.__metadata__]
"""`Limit`, where all are shown without one."""


@projects.get("", responses={200: _NEXT_PAGE})
async def list_projects(
    service: Service,
    response: Response,
    jira_project_key: KeyFilter = None,
    limit: OptionalLimit = None,
    cursor: Cursor = None,
) -> list[ProjectOutput]:
    """All projects by their Jira keys, 1000 at most; with `jira_project_key` the list of those that match.

    When more follow, `Link` has the address of the next page: `</api/projects?limit=…&cursor=…>; rel="next"`.
    """
    shown, following = await service.list(jira_project_key, limit, cursor)
    if following is not None:
        query = urlencode({**({"limit": limit} if limit else {}), "cursor": following})
        response.headers["Link"] = f'</api/projects?{query}>; rel="next"'
    return shown


@projects.post("", status_code=201, responses={201: _REVISION})
async def create_project(given: ProjectInput, service: Service, response: Response, by: By) -> ProjectOutput:
    """Register a project."""
    shown = await service.create(given, by)
    revisions.show(response, shown.revision)
    return shown


@projects.get("/{project_id}", responses={200: _REVISION})
async def get_project(project_id: str, service: Service, response: Response) -> ProjectOutput:
    """One project."""
    shown = await service.get(project_id)
    revisions.show(response, shown.revision)
    return shown


@projects.put("/{project_id}", responses={200: _REVISION})
async def update_project(
    project_id: str, given: ProjectInput, service: Service, response: Response, by: By, if_match: IfMatch = None
) -> ProjectOutput:
    """Replace a project. A token sent back as it was shown (masked) stays."""
    shown = await service.update(project_id, given, by, if_match)
    revisions.show(response, shown.revision)
    return shown


@projects.delete("/{project_id}", status_code=204)
async def delete_project(project_id: str, service: Service, by: By, if_match: IfMatch = None) -> None:
    """Remove a project."""
    await service.delete(project_id, by, if_match)


@projects.get("/{project_id}/repositories", responses={200: _REVISION})
async def list_repositories(project_id: str, service: Service, response: Response) -> list[RepositoryOutput]:
    """A project's repositories."""
    shown = await service.get(project_id)
    revisions.show(response, shown.revision)
    return shown.repositories


@projects.post("/{project_id}/repositories", status_code=201, responses={201: _REVISION})
async def add_repository(
    project_id: str, given: RepositoryInput, service: Service, response: Response, by: By, if_match: IfMatch = None
) -> RepositoryOutput:
    """Add a repository to a project."""
    shown, revision = await service.add_repository(project_id, given, by, if_match)
    revisions.show(response, revision)
    return shown


@projects.post("/{project_id}/check", responses={202: _LATER})
async def check_project(
    project_id: str, checks: Checks, response: Response, by: By, wait_seconds: Wait = WAIT_SECONDS
) -> CheckOutput:
    """Try each repository's token, its rights to read and push, and the base branch, without writing anything.

    A consumer does it, busy or not. 200 with the results; 202 when they take longer than `wait_seconds`: then they come
    at the address in `Location`.
    """
    shown = await checks.check(project_id, by, wait_seconds)
    if shown.state is CheckState.WAITING:
        response.status_code = 202
        response.headers["Location"] = f"/api/projects/{project_id}/checks/{shown.id}"
    return shown


@projects.get("/{project_id}/checks/{check_id}")
async def get_check(project_id: str, check_id: str, checks: Checks) -> CheckOutput:
    """One check of a project. It is kept for a day."""
    return await checks.get(project_id, check_id)


@repositories.put("/{repository_id}", responses={200: _REVISION})
async def update_repository(
    repository_id: str,
    project_id: ProjectId,
    given: RepositoryInput,
    service: Service,
    response: Response,
    by: By,
    if_match: IfMatch = None,
) -> RepositoryOutput:
    """Replace a repository of a project. A masked token stays."""
    shown, revision = await service.update_repository(project_id, repository_id, given, by, if_match)
    revisions.show(response, revision)
    return shown


@repositories.delete("/{repository_id}", status_code=204, responses={204: _REVISION})
async def delete_repository(
    repository_id: str, project_id: ProjectId, service: Service, response: Response, by: By, if_match: IfMatch = None
) -> None:
    """Remove a repository from a project, which keeps at least one."""
    revisions.show(response, await service.delete_repository(project_id, repository_id, by, if_match))
