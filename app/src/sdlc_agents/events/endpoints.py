"""GET /api/webhook-events and /api/webhook-events/{id}."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from sdlc_agents.events.repository import EventRepository
from sdlc_agents.events.schemas import EventDetailOutput, EventOutput
from sdlc_agents.paging import Cursor, KeyFilter, Limit, Page

router = APIRouter(prefix="/api/webhook-events", tags=["webhook events"])


def _repository(request: Request) -> EventRepository:
    repository: EventRepository = request.app.state.events
    return repository


Repository = Annotated[EventRepository, Depends(_repository)]


@router.get("")
async def list_events(
    repository: Repository, jira_project_key: KeyFilter = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[EventOutput]:
    """A page of webhook events, newest first."""
    return await repository.page(jira_project_key, limit, cursor)


@router.get("/{event_id}")
async def get_event(event_id: str, repository: Repository) -> EventDetailOutput:
    """One webhook event with its payload."""
    return await repository.get(event_id)
