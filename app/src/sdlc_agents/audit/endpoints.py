"""GET /api/audit-log: for keys with the scope `admin`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from sdlc_agents.audit.repository import AuditLog, AuditQuery
from sdlc_agents.audit.schemas import AuditEntryOutput
from sdlc_agents.kernel.paging import Cursor, FromFilter, Limit, Page, ToFilter

router = APIRouter(prefix="/api/audit-log", tags=["audit log"])


def _audit_log(request: Request) -> AuditLog:
    found: AuditLog = request.app.state.audit_log
    return found


def _query(
    entity_id: Annotated[str | None, Query(max_length=255, description="What was changed, by its id.")] = None,
    action: Annotated[str | None, Query(max_length=255, description="As in `project.updated`.")] = None,
    actor: Annotated[str | None, Query(max_length=255, description="Who, by the API key's id or name.")] = None,
    at_from: FromFilter = None,
    at_to: ToFilter = None,
) -> AuditQuery:
    return AuditQuery(entity_id, action, actor, at_from, at_to)


@router.get("")
async def list_changes(
    audit_log: Annotated[AuditLog, Depends(_audit_log)],
    filters: Annotated[AuditQuery, Depends(_query)],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AuditEntryOutput]:
    """A page of changes, newest first: who, what, when, from where, before and after."""
    return await audit_log.page(filters, limit, cursor)
