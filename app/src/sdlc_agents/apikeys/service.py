"""Making and revoking keys, with their trace in the audit log."""

from sdlc_agents.apikeys.keys import new_key
from sdlc_agents.apikeys.repository import BOOTSTRAP_ID, ApiKeyRepository
from sdlc_agents.apikeys.schemas import ApiKeyInput, ApiKeyOutput, NewApiKeyOutput
from sdlc_agents.audit import AuditLog
from sdlc_agents.kernel.callers import Caller, Scope
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ConflictError, NotFoundError
from sdlc_agents.kernel.mongo import Database, Document, Session, in_transaction
from sdlc_agents.kernel.paging import Page


class ApiKeyService:
    """What the endpoints and the commands do."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._repository = ApiKeyRepository(db)
        self._audit = AuditLog(db)

    async def page(self, limit: int, cursor: str | None) -> Page[ApiKeyOutput]:
        """Keys, revoked ones too, newest first."""
        documents, following = await self._repository.page(limit, cursor)
        return Page(items=[ApiKeyOutput(**_shown(document)) for document in documents], next_cursor=following)

    async def create(self, given: ApiKeyInput, caller: Caller) -> NewApiKeyOutput:
        """Make a key; the answer is the only place where it is seen."""
        key = new_key()

        async def work(session: Session) -> Document:
            document = await self._repository.add(key, given.name, given.scopes, given.expires_at, session)
            await self._audit.record(caller, "api_key.created", document["_id"], None, _shown(document), session)
            return document

        return NewApiKeyOutput(**_shown(await in_transaction(self._db, work)), key=key)

    async def revoke(self, key_id: str, caller: Caller) -> None:
        """Revoke a key.

        Raises `NotFoundError` when there is none of this id, or it is revoked already, and `ConflictError` when nobody
        could manage keys without it.
        """

        async def work(session: Session) -> None:
            document = await self._repository.revoke(key_id, session)
            if document is None:
                raise NotFoundError("there is no such API key")
            if _is_valid_admin(document) and not await self._repository.rely_on_another_admin(key_id, session):
                raise ConflictError(
                    "this is the last valid API key with the scope admin: make another one before you revoke it"
                )
            await self._audit.record(caller, "api_key.revoked", key_id, _shown(document), None, session)

        await in_transaction(self._db, work)

    async def set_bootstrap_key(self, key: str, caller: Caller) -> bool:
        """Make this the operator's admin key in place of the former one; True when it is another."""

        async def work(session: Session) -> bool:
            changed = await self._repository.set_bootstrap_key(key, session)
            if changed:
                await self._audit.record(caller, "api_key.bootstrapped", BOOTSTRAP_ID, None, None, session)
            return changed

        return await in_transaction(self._db, work)


def _is_valid_admin(document: Document) -> bool:
    expires_at = document.get("expires_at")
    return Scope.ADMIN.value in document["scopes"] and (expires_at is None or expires_at > now())


def _shown(document: Document) -> Document:
    return {"id": document["_id"], **{name: document[name] for name in ApiKeyOutput.model_fields if name != "id"}}
