"""The only module of this domain that knows MongoDB."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from sdlc_agents.events.schemas import EventDetailOutput, EventOutput
from sdlc_agents.kernel import paging
from sdlc_agents.kernel.errors import NotFoundError
from sdlc_agents.kernel.mongo import Database, Document, translate_errors
from sdlc_agents.kernel.rights import Action, rights

RIGHTS = rights(Action.FIND, on="webhook_events")

_FIELDS = {name: 1 for name in EventOutput.model_fields if name != "id"}


@dataclass(frozen=True)
class EventQuery:
    """Which events are asked for; None means any. `received_to` is not included."""

    jira_project_key: str | None = None
    jira_issue_key: str | None = None
    status: str | None = None
    state: str | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None

    def document(self) -> Document:
        """As MongoDB takes it."""
        return paging.matching(
            jira_project_key=self.jira_project_key,
            jira_issue_key=self.jira_issue_key,
            status=self.status,
            state=self.state,
        ) | paging.within("received_at", self.received_from, self.received_to)


class EventRepository:
    """Reads webhook events."""

    def __init__(self, db: Database) -> None:
        self._events = db["webhook_events"]

    async def page(self, query: EventQuery, limit: int, cursor: str | None) -> paging.Page[EventOutput]:
        """Newest first."""
        wanted = paging.after(query.document(), cursor)
        with translate_errors():
            found = await self._events.find(wanted, _FIELDS).sort("_id", -1).limit(limit + 1).to_list()
        documents, following = paging.cut(found, limit)
        shown = [EventOutput(id=document.pop("_id"), **document) for document in documents]
        return paging.Page(items=shown, next_cursor=following)

    async def get(self, event_id: str) -> EventDetailOutput:
        """One event with its payload; raises `NotFoundError`."""
        with translate_errors():
            document = await self._events.find_one({"_id": {"$eq": event_id}}, {**_FIELDS, "raw_payload": 1})
        if document is None:
            raise NotFoundError("there is no such webhook event")
        payload = orjson.loads(document.pop("raw_payload"))
        return EventDetailOutput(id=document.pop("_id"), raw_payload=payload, **document)
