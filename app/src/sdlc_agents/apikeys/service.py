"""Making and revoking keys, with their trace in the audit log."""

from sdlc_agents.apikeys.keys import Caller, new_key
from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.apikeys.schemas import ApiKeyInput, ApiKeyOutput, NewApiKeyOutput
from sdlc_agents.audit import AuditLog
from sdlc_agents.errors import NotFoundError
from sdlc_agents.mongo import Database, Document, Session, in_transaction


class ApiKeyService:
    """What the endpoints do."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._repository = ApiKeyRepository(db)
        self._audit = AuditLog(db)

    async def list(self) -> list[ApiKeyOutput]:
        """All keys, revoked ones too."""
        return [ApiKeyOutput(**_shown(document)) for document in await self._repository.list()]

    async def create(self, given: ApiKeyInput, caller: Caller) -> NewApiKeyOutput:
        """Make a key; the answer is the only place where it is seen."""
        key = new_key()

        async def work(session: Session) -> Document:
            document = await self._repository.add(key, given.name, given.scopes, given.expires_at, session)
            await self._audit.record(caller, "api_key.created", document["_id"], None, _shown(document), session)
            return document

        return NewApiKeyOutput(**_shown(await in_transaction(self._db, work)), key=key)

    async def revoke(self, key_id: str, caller: Caller) -> None:
        """Revoke a key; raises `NotFoundError` when there is no valid one of this id."""

        async def work(session: Session) -> None:
            document = await self._repository.revoke(key_id, session)
            if document is None:
                raise NotFoundError("there is no such API key")
            await self._audit.record(caller, "api_key.revoked", key_id, _shown(document), None, session)

        await in_transaction(self._db, work)


def _shown(document: Document) -> Document:
    return {"id": document["_id"], **{name: document[name] for name in ApiKeyOutput.model_fields if name != "id"}}
