"""What an event of Jira's may be, and how far it may have come."""

from enum import StrEnum


class EventKind(StrEnum):
    """Jira's webhook events that may start a development."""

    CREATED = "jira:issue_created"
    UPDATED = "jira:issue_updated"


class EventState(StrEnum):
    """How far an event has come."""

    STORED = "stored"
    PUBLISHED = "published"
