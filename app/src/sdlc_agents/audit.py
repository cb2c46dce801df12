"""The audit log: every change, by whom, from where, before and after. Appended in the change's own transaction.

Rights it needs: `audit_log` insert. What is recorded comes masked from its domain: no secret is ever in it.
"""

import structlog

from sdlc_agents.apikeys.keys import Caller
from sdlc_agents.clock import now
from sdlc_agents.ids import new_id
from sdlc_agents.mongo import Database, Document, Session

log = structlog.get_logger()


class AuditLog:
    """Appends to `audit_log`; nothing in the product changes or removes what stands there."""

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
