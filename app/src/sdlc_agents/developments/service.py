"""Retrying and cancelling, with their trace in the audit log."""

from sdlc_agents.audit import AuditLog
from sdlc_agents.developments.model import Status
from sdlc_agents.developments.repository import DevelopmentRepository
from sdlc_agents.developments.schemas import DevelopmentOutput, TranscriptEventOutput
from sdlc_agents.developments.streaming import EventStream, TranscriptStreams
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.errors import ConflictError
from sdlc_agents.kernel.mongo import Database, Document, Session, in_transaction
from sdlc_agents.kernel.paging import Page, matching


class DevelopmentService:
    """What the endpoints do."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._repository = DevelopmentRepository(db)
        self._audit = AuditLog(db)
        self.streams = TranscriptStreams()

    async def page(self, limit: int, cursor: str | None, **filters: str | None) -> Page[DevelopmentOutput]:
        """Newest first; `filters` are fields that must be exactly this."""
        return await self._repository.page(matching(**filters), limit, cursor)

    async def get(self, development_id: str) -> DevelopmentOutput:
        """One development; raises `NotFoundError`."""
        return await self._repository.get(development_id)

    async def transcript(self, development_id: str, limit: int, cursor: str | None) -> Page[TranscriptEventOutput]:
        """Events, oldest first; raises `NotFoundError`."""
        await self._repository.status(development_id)
        return await self._repository.transcript(development_id, limit, cursor)

    async def stream(self, development_id: str, after: str | None) -> EventStream:
        """Events as they come, those after one or all of them; raises `NotFoundError`."""
        await self._repository.status(development_id)
        return EventStream(self.streams, self.streams.frames(self._repository, development_id, after))

    async def retry(self, development_id: str, caller: Caller) -> DevelopmentOutput:
        """Queue a failed or cancelled development again.

        Raises `NotFoundError`, and `ConflictError` in any other state.
        """

        async def work(session: Session) -> DevelopmentOutput:
            before = await self._repository.get(development_id, session)
            after = await self._repository.queue_again(development_id, session)
            if after is None:
                raise ConflictError(f"this development is {before.status}: only a failed or cancelled one is retried")
            await self._record(caller, "development.retried", before, after, session)
            return after

        return await in_transaction(self._db, work)

    async def cancel(self, development_id: str, caller: Caller) -> DevelopmentOutput:
        """End a queued development, or ask the consumer of a running one to; asking again changes nothing.

        Raises `NotFoundError`, and `ConflictError` when it ended already.
        """

        async def work(session: Session) -> DevelopmentOutput:
            before = await self._repository.get(development_id, session)
            if before.status == Status.RUNNING and before.cancel_requested_at is not None:
                return before
            after = await self._repository.cancel_queued(development_id, caller.name, session)
            after = after or await self._repository.ask_to_stop(development_id, caller.name, session)
            if after is None:
                raise ConflictError(f"this development is {before.status} already")
            action = "development.cancelled" if after.status == Status.CANCELLED else "development.cancel_requested"
            await self._record(caller, action, before, after, session)
            return after

        return await in_transaction(self._db, work)

    async def _record(
        self, caller: Caller, action: str, before: DevelopmentOutput, after: DevelopmentOutput, session: Session
    ) -> None:
        await self._audit.record(caller, action, before.id, _state(before), _state(after), session)


def _state(development: DevelopmentOutput) -> Document:
    return {
        "status": development.status,
        "outcome": development.outcome,
        "attempts": development.attempts,
        "cancel_requested_at": development.cancel_requested_at,
    }
