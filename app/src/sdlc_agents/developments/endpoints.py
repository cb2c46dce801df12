"""GET /api/developments, /api/developments/{id} and its transcript, also live; POST its retry and cancel."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request

from sdlc_agents.apikeys.middleware import caller
from sdlc_agents.developments.schemas import DevelopmentOutput, StatusField, TranscriptEventOutput
from sdlc_agents.developments.service import DevelopmentService
from sdlc_agents.developments.streaming import EventStream
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.paging import Cursor, KeyFilter, Limit, Page

router = APIRouter(prefix="/api/developments", tags=["developments"])


def _service(request: Request) -> DevelopmentService:
    service: DevelopmentService = request.app.state.developments
    return service


Service = Annotated[DevelopmentService, Depends(_service)]
By = Annotated[Caller, Depends(caller)]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern="^[0-9a-f]{24}$", description="Only events after this one."),
]
StatusFilter = Annotated[StatusField | None, Query(description="Only those in this state.")]


@router.get("")
async def list_developments(
    service: Service,
    jira_project_key: KeyFilter = None,
    jira_issue_key: KeyFilter = None,
    status: StatusFilter = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[DevelopmentOutput]:
    """A page of developments, newest first."""
    return await service.page(
        limit, cursor, jira_project_key=jira_project_key, jira_issue_key=jira_issue_key, status=status
    )


@router.get("/{development_id}")
async def get_development(development_id: str, service: Service) -> DevelopmentOutput:
    """One development."""
    return await service.get(development_id)


@router.post("/{development_id}/retry", status_code=202)
async def retry_development(development_id: str, service: Service, by: By) -> DevelopmentOutput:
    """Queue a failed or cancelled development again: a new attempt under the same id. 409 in any other state."""
    return await service.retry(development_id, by)


@router.post("/{development_id}/cancel", status_code=202)
async def cancel_development(development_id: str, service: Service, by: By) -> DevelopmentOutput:
    """End a queued development at once; a running one ends as soon as its consumer has stopped it. 409 when it ended.

    A result that is being published already is published, and the development ends as completed.
    """
    return await service.cancel(development_id, by)


@router.get("/{development_id}/transcript")
async def get_transcript(
    development_id: str, service: Service, limit: Limit = 50, cursor: Cursor = None
) -> Page[TranscriptEventOutput]:
    """A page of what the agent did in all attempts, oldest first; fewer than `limit` where events are long."""
    return await service.transcript(development_id, limit, cursor)


@router.get("/{development_id}/transcript/stream", status_code=200, response_class=EventStream)
async def stream_transcript(development_id: str, service: Service, last_event_id: LastEventId = None) -> EventStream:
    """What the agent does, as it does it: server-sent events, from the first of all attempts on.

    Each has its id as `id` (the browser's EventSource sends the last one back as `Last-Event-ID`) and as `data` a
    `TranscriptEventOutput`. When the development has ended and all is told, `event: end` comes with
    `{"status": …}`, and the stream ends. A comment comes at least each ten seconds. A stream that ends without
    `end` (after 15 minutes, or because the service stops) is to be asked for again. 503 when too many are open.
    """
    return await service.stream(development_id, last_event_id)
