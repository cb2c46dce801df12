"""The only module of this domain that knows MongoDB. Rights it needs: `api_keys` find, insert, update."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sdlc_agents.apikeys.keys import Scope, digest
from sdlc_agents.clock import now
from sdlc_agents.ids import new_id
from sdlc_agents.mongo import Database, Document, Session, translate_errors

BOOTSTRAP_ID = "bootstrap"
LAST_USED_GRAIN = timedelta(minutes=1)


class ApiKeyRepository:
    """The keys, by their hashes."""

    def __init__(self, db: Database) -> None:
        self._keys = db["api_keys"]

    async def find_valid(self, key: str) -> Document | None:
        """The key's document, unless it is unknown, revoked or expired; notes when it was last used."""
        moment = now()
        with translate_errors():
            document = await self._keys.find_one({"key_sha256": digest(key), "revoked_at": None})
            if document is None or ((expiry := document.get("expires_at")) is not None and expiry <= moment):
                return None
            last_used = document.get("last_used_at")
            if last_used is None or moment - last_used >= LAST_USED_GRAIN:
                await self._keys.update_one({"_id": document["_id"]}, {"$set": {"last_used_at": moment}})
        return document

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

    async def list(self) -> list[Document]:
        """All keys, revoked ones too, oldest first."""
        with translate_errors():
            return await self._keys.find().sort("_id", 1).to_list()

    async def revoke(self, key_id: str, session: Session | None = None) -> Document | None:
        """Revoke a key; the document as it was, None when there is none that is valid."""
        with translate_errors():
            return await self._keys.find_one_and_update(
                {"_id": key_id, "revoked_at": None}, {"$set": {"revoked_at": now()}}, session=session
            )

    async def set_bootstrap_key(self, key: str) -> bool:
        """Make this the operator's admin key in place of the former one; True when it is another."""
        wanted = digest(key)
        with translate_errors():
            present = await self._keys.find_one({"_id": BOOTSTRAP_ID})
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
            )
        return True
