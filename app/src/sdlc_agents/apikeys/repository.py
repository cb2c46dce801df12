"""The only module of this domain that knows MongoDB."""

from collections.abc import Iterable
from datetime import datetime

from sdlc_agents.apikeys.keys import digest
from sdlc_agents.kernel import paging
from sdlc_agents.kernel.callers import Scope
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.mongo import Database, Document, Session, translate_errors
from sdlc_agents.kernel.rights import Action, rights

RIGHTS = rights(Action.FIND, Action.INSERT, Action.UPDATE, on="api_keys")
BOOTSTRAP_ID = "bootstrap"


class ApiKeyRepository:
    """The keys, by their hashes."""

    def __init__(self, db: Database) -> None:
        self._keys = db["api_keys"]

    async def find_valid(self, key: str) -> Document | None:
        """The key's document, unless it is unknown, revoked or expired."""
        with translate_errors():
            return await self._keys.find_one({"key_sha256": digest(key), **_valid(now())})

    async def used(self, key_id: str, moment: datetime, *, not_after: datetime) -> None:
        """Note when a key was used, unless a use after `not_after` is noted."""
        earlier: Document = {"$or": [{"last_used_at": None}, {"last_used_at": {"$lte": not_after}}]}
        with translate_errors():
            await self._keys.update_one({"_id": key_id, **earlier}, {"$set": {"last_used_at": moment}})

    async def add(
        self, key: str, name: str, scopes: Iterable[Scope], expires_at: datetime | None, session: Session | None = None
    ) -> Document:
        """Keep a new key's hash; its document."""
        document: Document = {
            "_id": new_id(),
            "name": name,
            "key_sha256": digest(key),
            "scopes": sorted(scope.value for scope in scopes),
            "created_at": now(),
            "expires_at": expires_at,
            "last_used_at": None,
            "revoked_at": None,
        }
        with translate_errors():
            await self._keys.insert_one(document, session=session)
        return document

    async def page(self, limit: int, cursor: str | None) -> tuple[list[Document], str | None]:
        """Keys, revoked ones too, newest first (the operator's own before them), and the next page's cursor."""
        with translate_errors():
            found = await self._keys.find(paging.after({}, cursor)).sort("_id", -1).limit(limit + 1).to_list()
        return paging.cut(found, limit)

    async def revoke(self, key_id: str, session: Session) -> Document | None:
        """Revoke a key; the document as it was, None when there is none or it is revoked already."""
        with translate_errors():
            return await self._keys.find_one_and_update(
                {"_id": {"$eq": key_id}, "revoked_at": None}, {"$set": {"revoked_at": now()}}, session=session
            )

    async def rely_on_another_admin(self, key_id: str, session: Session) -> bool:
        """Whether another valid key may manage keys; that one cannot be revoked while this transaction runs.

        Reading it would not do: two who revoke the last two keys at once would each see the other's. The write makes
        the slower one of them begin anew, and see.
        """
        moment = now()
        with translate_errors():
            other = await self._keys.find_one_and_update(
                {"_id": {"$ne": key_id}, "scopes": Scope.ADMIN.value, **_valid(moment)},
                {"$set": {"relied_on_at": moment}},
                session=session,
            )
        return other is not None

    async def set_bootstrap_key(self, key: str, session: Session) -> bool:
        """Make this the operator's admin key in place of the former one; True when it is another."""
        wanted = digest(key)
        with translate_errors():
            present = await self._keys.find_one({"_id": BOOTSTRAP_ID}, session=session)
            if present is not None and present["key_sha256"] == wanted and present["revoked_at"] is None:
                return False
            await self._keys.update_one(
                {"_id": BOOTSTRAP_ID},
                {
                    "$set": {"key_sha256": wanted, "revoked_at": None, "expires_at": None},
                    "$setOnInsert": {
                        "name": "bootstrap",
                        "scopes": [Scope.ADMIN.value],
                        "created_at": now(),
                        "last_used_at": None,
                    },
                },
                upsert=True,
                session=session,
            )
        return True


def _valid(moment: datetime) -> Document:
    return {"revoked_at": None, "$or": [{"expires_at": None}, {"expires_at": {"$gt": moment}}]}
