"""Developments and their transcripts, as the API reads and changes them."""

from bson import ObjectId
from bson.errors import InvalidId
from pymongo import ReturnDocument

from sdlc_agents.developments import changes
from sdlc_agents.developments.model import WITHOUT_RESULT, Status
from sdlc_agents.developments.schemas import DevelopmentOutput, TranscriptEventOutput
from sdlc_agents.kernel import paging
from sdlc_agents.kernel.errors import InvalidRequestError, NotFoundError
from sdlc_agents.kernel.mongo import Database, Document, Session, translate_errors
from sdlc_agents.kernel.rights import Action, rights, together

_FIELDS = {name: 1 for name in DevelopmentOutput.model_fields if name != "id"}
_EVENT_FIELDS = {name: 1 for name in TranscriptEventOutput.model_fields if name != "id"}
_TEXTS = ("text", "message", "content", "output")
_PAGE_CHARACTERS = 4 * 1024 * 1024
RIGHTS = together(
    rights(Action.FIND, Action.UPDATE, on="developments"),
    rights(Action.FIND, on="agent_events"),
)


class DevelopmentRepository:
    """Reads developments, and changes what a consumer does not hold."""

    def __init__(self, db: Database) -> None:
        self._developments = db["developments"]
        self._events = db["agent_events"]

    async def page(self, query: Document, limit: int, cursor: str | None) -> paging.Page[DevelopmentOutput]:
        """Newest first."""
        wanted = paging.after(query, cursor)
        with translate_errors():
            found = await self._developments.find(wanted, _FIELDS).sort("_id", -1).limit(limit + 1).to_list()
        documents, following = paging.cut(found, limit)
        return paging.Page(items=[_shown(document) for document in documents], next_cursor=following)

    async def get(self, development_id: str, session: Session | None = None) -> DevelopmentOutput:
        """One development; raises `NotFoundError`."""
        with translate_errors():
            document = await self._developments.find_one({"_id": {"$eq": development_id}}, _FIELDS, session=session)
        if document is None:
            raise NotFoundError("there is no such development")
        return _shown(document)

    async def queue_again(self, development_id: str, session: Session) -> DevelopmentOutput | None:
        """Queue an ended development that has no result; None when it is in no such state.

        What its last attempt came to stands in `attempts_log`.
        """
        return await self._change(development_id, {"status": {"$in": WITHOUT_RESULT}}, changes.queued_again(), session)

    async def cancel_queued(self, development_id: str, by: str, session: Session) -> DevelopmentOutput | None:
        """End a development that no consumer holds; None when it is not queued."""
        return await self._change(development_id, {"status": Status.QUEUED}, changes.cancelled(by), session)

    async def ask_to_stop(self, development_id: str, by: str, session: Session) -> DevelopmentOutput | None:
        """Ask the consumer that holds a development to end it; None when none does, or was asked already."""
        not_asked: Document = {"status": Status.RUNNING, "cancel_requested_at": None}
        return await self._change(development_id, not_asked, changes.asked_to_stop(by), session)

    async def status(self, development_id: str) -> Status:
        """A development's state; raises `NotFoundError`."""
        with translate_errors():
            document = await self._developments.find_one({"_id": {"$eq": development_id}}, {"status": 1})
        if document is None:
            raise NotFoundError("there is no such development")
        return Status(document["status"])

    async def transcript(
        self, development_id: str, limit: int, cursor: str | None
    ) -> paging.Page[TranscriptEventOutput]:
        """Events of all attempts, oldest first: up to `limit`, fewer where they are long."""
        query: Document = {"development_id": {"$eq": development_id}}
        if cursor is not None:
            try:
                query["_id"] = {"$gt": ObjectId(cursor)}
            except InvalidId as error:
                raise InvalidRequestError("cursor: is not one that this list gave") from error
        items: list[TranscriptEventOutput] = []
        characters = 0
        with translate_errors():
            async for document in self._events.find(query, _EVENT_FIELDS).sort("_id", 1).limit(limit + 1):
                characters += sum(len(document.get(name) or "") for name in _TEXTS)
                if items and (len(items) == limit or characters > _PAGE_CHARACTERS):
                    return paging.Page(items=items, next_cursor=items[-1].id)
                items.append(TranscriptEventOutput(id=str(document.pop("_id")), **document))
        return paging.Page(items=items, next_cursor=None)

    async def _change(
        self, development_id: str, state: Document, stages: list[Document], session: Session
    ) -> DevelopmentOutput | None:
        with translate_errors():
            document = await self._developments.find_one_and_update(
                {"_id": {"$eq": development_id}, **state},
                stages,
                _FIELDS,
                return_document=ReturnDocument.AFTER,
                session=session,
            )
        return None if document is None else _shown(document)


def _shown(document: Document) -> DevelopmentOutput:
    return DevelopmentOutput(id=document.pop("_id"), **document)
