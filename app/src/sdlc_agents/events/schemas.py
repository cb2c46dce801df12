"""Webhook events as the API shows them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from sdlc_agents.events.model import EventState


class EventOutput(BaseModel):
    """An event, without its payload."""

    id: str
    development_id: str
    delivery_id: str
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    summary: str
    description: str
    status: str
    previous_status: str | None
    event_type: str
    state: EventState
    received_at: datetime
    processed_at: datetime | None = None


class EventDetailOutput(EventOutput):
    """An event with the payload as Jira sent it."""

    raw_payload: dict[str, Any]
