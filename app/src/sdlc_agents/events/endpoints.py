"""GET /api/webhook-events and /api/webhook-events/{id}."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from sdlc_agents.events.model import EventState
from sdlc_agents.events.repository import EventQuery, EventRepository
from sdlc_agents.events.schemas import EventDetailOutput, EventOutput
from sdlc_agents.kernel.paging import Cursor, FromFilter, KeyFilter, Limit, Page, ToFilter

router = APIRouter(prefix="/api/webhook-events", tags=["webhook events"])


def _repository(request: Request) -> EventRepository:
    repository: EventRepository = request.app.state.events
    return repository


def _query(
    jira_project_key: KeyFilter = None,
    jira_issue_key: KeyFilter = None,
    status: Annotated[str | None, Query(max_length=255, description="The ticket's status in Jira.")] = None,
    state: Annotated[
        EventState | None, Query(description="`stored` until the broker has confirmed it, then `published`.")
    ] = None,
    received_from: FromFilter = None,
    received_to: ToFilter = None,
) -> EventQuery:
    return EventQuery(jira_project_key, jira_issue_key, status, state, received_from, received_to)


Repository = Annotated[EventRepository, Depends(_repository)]
Filters = Annotated[EventQuery, Depends(_query)]


@router.get("")
async def list_events(
    repository: Repository, filters: Filters, limit: Limit = 50, cursor: Cursor = None
) -> Page[EventOutput]:
    """A page of webhook events, newest first, without their payloads."""
    return await repository.page(filters, limit, cursor)


@router.get("/{event_id}")
async def get_event(event_id: str, repository: Repository) -> EventDetailOutput:
    """One webhook event with its payload."""
    return await repository.get(event_id)
