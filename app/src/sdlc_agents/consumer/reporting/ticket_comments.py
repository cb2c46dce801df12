"""Telling a ticket that its run began and how it ended, and moving it as the project wants.

Each comment carries a marker by which it is found again, so that it is made once, also after a crash. What the project
wants (its `TicketPolicy`) stands in the development from when its run chose the project.
"""

from datetime import datetime, timedelta

import structlog

from sdlc_agents.consumer.reporting.links import ConfigurationApi
from sdlc_agents.consumer.reporting.ticket_texts import start_comment, ticket_comment
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.trackers.jira import CommentRefusedError, Jira, MoveRefusedError, TrackerError

_PATIENCE = timedelta(minutes=5)

log = structlog.get_logger()


async def tell_start(jira: Jira, document: Document, api: ConfigurationApi) -> None:
    """Comment that the attempt began, once an attempt, and move the ticket. Raises `TrackerError`."""
    marker = f"sdlc-agents started {document['_id']} {document['attempts']}"
    key = document["jira_issue_key"]
    if await jira.commented(key, marker):
        return
    problem = await _move(jira, document, "status_when_started", document["timings"]["claimed_at"])
    await jira.comment(key, start_comment(document, marker, api, problem))


async def tell_end(jira: Jira, document: Document, api: ConfigurationApi) -> None:
    """Comment how the development ended, once an end, and move the ticket. Raises `TrackerError`."""
    marker = f"sdlc-agents {document['_id']} {document['lease']['fence']}"
    key = document["jira_issue_key"]
    if await jira.commented(key, marker):
        return
    problem = await _move(jira, document, f"status_when_{document['status']}", document["completed_at"])
    await jira.comment(key, ticket_comment(document, marker, api, problem))


async def _move(jira: Jira, document: Document, wanted: str, since: datetime | None) -> str | None:
    """Move the ticket; why it stays where it is, for its comment. A Jira that is away is waited for, for a while."""
    status = (document.get("ticket") or {}).get(wanted)
    if status is None:
        return None
    try:
        await jira.move(document["jira_issue_key"], status)
    except (MoveRefusedError, CommentRefusedError) as error:
        problem = error.message
    except TrackerError as error:
        if since is not None and now() - since < _PATIENCE:
            raise
        problem = error.message
    else:
        log.info("ticket_moved", development_id=document["_id"], status=status)
        return None
    log.warning("ticket_not_moved", development_id=document["_id"], status=status, error=problem)
    return f'The ticket could not be moved to "{status}": {problem}'
