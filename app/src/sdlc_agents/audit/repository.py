"""The only module of this domain that knows MongoDB."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from sdlc_agents.audit.schemas import AuditEntryOutput
from sdlc_agents.kernel import paging
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.mongo import Database, Document, Session, translate_errors
from sdlc_agents.kernel.rights import Action, rights

RIGHTS_TO_RECORD = rights(Action.INSERT, on="audit_log")
RIGHTS_TO_READ = rights(Action.FIND, on="audit_log")

log = structlog.get_logger()


@dataclass(frozen=True)
class AuditQuery:
    """Which entries are asked for; None means any. `actor` is a key's id or name, `to` is not included."""

    entity_id: str | None = None
    action: str | None = None
    actor: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def document(self) -> Document:
        """As MongoDB takes it."""
        query = paging.matching(entity_id=self.entity_id, action=self.action)
        if self.actor is not None:
            query["$or"] = [{"actor.key_id": {"$eq": self.actor}}, {"actor.name": {"$eq": self.actor}}]
        return query | paging.within("at", self.start, self.end)


class AuditLog:
    """Appends to `audit_log` and reads it; nothing in the product changes or removes what stands there."""

    def __init__(self, db: Database) -> None:
        self._log = db["audit_log"]

    async def record(
        self,
        caller: Caller,
        action: str,
        entity_id: str,
        before: Document | None,
        after: Document | None,
        session: Session,
    ) -> None:
        """Append one change; `action` is `<entity>.<what happened>`."""
        await self._log.insert_one(
            {
                "_id": new_id(),
                "at": now(),
                "action": action,
                "entity_id": entity_id,
                "actor": {"key_id": caller.key_id, "name": caller.name},
                "address": caller.address,
                "request_id": structlog.contextvars.get_contextvars().get("request_id"),
                "before": before,
                "after": after,
            },
            session=session,
        )
        log.info("change_recorded", action=action, entity_id=entity_id)

    async def page(self, query: AuditQuery, limit: int, cursor: str | None) -> paging.Page[AuditEntryOutput]:
        """Newest first."""
        wanted = paging.after(query.document(), cursor)
        with translate_errors():
            found = await self._log.find(wanted).sort("_id", -1).limit(limit + 1).to_list()
        documents, following = paging.cut(found, limit)
        return paging.Page(
            items=[AuditEntryOutput(id=document.pop("_id"), **document) for document in documents],
            next_cursor=following,
        )
