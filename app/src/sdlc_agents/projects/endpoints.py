"""/api/projects and /api/repositories."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from sdlc_agents.apikeys.keys import Caller
from sdlc_agents.apikeys.middleware import caller
from sdlc_agents.projects.schemas import ProjectInput, ProjectOutput, RepositoryInput, RepositoryOutput
from sdlc_agents.projects.service import ProjectService

projects = APIRouter(prefix="/api/projects", tags=["projects"])
repositories = APIRouter(prefix="/api/repositories", tags=["repositories"])


def _service(request: Request) -> ProjectService:
    service: ProjectService = request.app.state.projects
    return service


Service = Annotated[ProjectService, Depends(_service)]
By = Annotated[Caller, Depends(caller)]
ProjectId = Annotated[str, Query(min_length=1, max_length=255)]


@projects.get("")
async def list_projects(
    service: Service, jira_project_key: Annotated[str | None, Query(max_length=255)] = None
) -> list[ProjectOutput]:
    """All projects; with `jira_project_key` the list of those that match."""
    return await service.list(jira_project_key)


@projects.post("", status_code=201)
async def create_project(given: ProjectInput, service: Service, by: By) -> ProjectOutput:
    """Register a project."""
    return await service.create(given, by)


@projects.get("/{project_id}")
async def get_project(project_id: str, service: Service) -> ProjectOutput:
    """One project."""
    return await service.get(project_id)


@projects.put("/{project_id}")
async def update_project(project_id: str, given: ProjectInput, service: Service, by: By) -> ProjectOutput:
    """Replace a project. A token sent back as it was shown (masked) stays."""
    return await service.update(project_id, given, by)


@projects.delete("/{project_id}", status_code=204)
async def delete_project(project_id: str, service: Service, by: By) -> None:
    """Remove a project."""
    await service.delete(project_id, by)


@projects.get("/{project_id}/repositories")
async def list_repositories(project_id: str, service: Service) -> Sequence[RepositoryOutput]:
    """A project's repositories."""
    return await service.repositories(project_id)


@projects.post("/{project_id}/repositories", status_code=201)
async def add_repository(project_id: str, given: RepositoryInput, service: Service, by: By) -> RepositoryOutput:
    """Add a repository to a project."""
    return await service.add_repository(project_id, given, by)


@repositories.put("/{repository_id}")
async def update_repository(
    repository_id: str, project_id: ProjectId, given: RepositoryInput, service: Service, by: By
) -> RepositoryOutput:
    """Replace a repository of a project. A masked token stays."""
    return await service.update_repository(project_id, repository_id, given, by)


@repositories.delete("/{repository_id}", status_code=204)
async def delete_repository(repository_id: str, project_id: ProjectId, service: Service, by: By) -> None:
    """Remove a repository from a project."""
    await service.delete_repository(project_id, repository_id, by)
