"""Brings the database to this release's shape, and checks that it is there.

Rights to migrate: `createCollection`, `collMod`, `createIndex`, `listIndexes` on the collections, `listCollections` on
the database, and find, insert, update on `schema_version`. Rights to check: find on `schema_version`.
"""

from collections.abc import Mapping
from typing import Any

from sdlc_agents.clock import now
from sdlc_agents.errors import ServiceError
from sdlc_agents.migrations.collections import COLLECTIONS, Collection
from sdlc_agents.mongo import Database, translate_errors

VERSION = 2
"""Raise it with every change of `COLLECTIONS`."""

_DOCUMENT = "database"


class SchemaError(ServiceError):
    """The database is of another release."""

    status = 503
    code = "schema_mismatch"


async def version(db: Database) -> int:
    """The version that the database has; 0 when it was never migrated."""
    with translate_errors():
        document = await db["schema_version"].find_one({"_id": _DOCUMENT})
    return int(document["version"]) if document is not None else 0


async def check(db: Database) -> None:
    """Raise `SchemaError` unless the database has this release's shape: what `/ready` asks."""
    found = await version(db)
    if found != VERSION:
        raise SchemaError(f"the database has schema version {found}, this release needs {VERSION}")


async def migrate(db: Database) -> bool:
    """Bring the database to `VERSION`; True when something changed.

    Raises `SchemaError`, before any change, when the database is newer.
    """
    found = await version(db)
    if found > VERSION:
        raise SchemaError(f"the database has schema version {found}, newer than this release's {VERSION}")
    existing: dict[str, Mapping[str, Any]] = {}
    async for collection in await db.list_collections():
        existing[collection["name"]] = collection.get("options", {})
    changed = False
    for wanted in COLLECTIONS:
        changed |= await _shape(db, wanted, existing.get(wanted.name))
    if found != VERSION:
        await db["schema_version"].update_one(
            {"_id": _DOCUMENT}, {"$set": {"version": VERSION, "applied_at": now()}}, upsert=True
        )
        changed = True
    return changed


async def _shape(db: Database, wanted: Collection, options: Mapping[str, Any] | None) -> bool:
    validator = {"$jsonSchema": wanted.schema}
    changed = True
    if options is None:
        await db.create_collection(wanted.name, validator=validator)
    elif options.get("validator") != validator:
        await db.command("collMod", wanted.name, validator=validator)
    else:
        changed = False
    before = set(await db[wanted.name].index_information())
    if wanted.indexes:
        await db[wanted.name].create_indexes(wanted.indexes)
    return changed or not {index.document["name"] for index in wanted.indexes} <= before
