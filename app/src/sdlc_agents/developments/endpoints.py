"""GET /api/developments and /api/developments/{id}."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from sdlc_agents.developments.repository import DevelopmentRepository
from sdlc_agents.developments.schemas import DevelopmentOutput
from sdlc_agents.paging import Cursor, KeyFilter, Limit, Page

router = APIRouter(prefix="/api/developments", tags=["developments"])


def _repository(request: Request) -> DevelopmentRepository:
    repository: DevelopmentRepository = request.app.state.developments
    return repository


Repository = Annotated[DevelopmentRepository, Depends(_repository)]
Status = Annotated[str | None, Query(pattern="^(queued|running|completed|failed|cancelled)$")]


@router.get("")
async def list_developments(
    repository: Repository,
    jira_project_key: KeyFilter = None,
    status: Status = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DevelopmentOutput]:
    """A page of developments, newest first."""
    return await repository.page(jira_project_key, status, limit, cursor)


@router.get("/{development_id}")
async def get_development(development_id: str, repository: Repository) -> DevelopmentOutput:
    """One development."""
    return await repository.get(development_id)
