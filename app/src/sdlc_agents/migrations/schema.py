"""Brings the database to this release's shape, and checks that it is there."""

from collections.abc import Mapping
from typing import Any

import structlog
from pymongo.errors import CollectionInvalid, OperationFailure

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.mongo import Database, translate_errors
from sdlc_agents.kernel.rights import EVERY_COLLECTION, Action, rights, together
from sdlc_agents.migrations import indexes, steps
from sdlc_agents.migrations.collections import COLLECTIONS, Collection, Retention

VERSION = 4
"""Raise it with every change of `COLLECTIONS`; what old documents need for it is a step in `steps`."""

RIGHTS_TO_CHECK = rights(Action.FIND, on="schema_version")
RIGHTS_TO_MIGRATE = together(
    RIGHTS_TO_CHECK,
    rights(Action.INSERT, Action.UPDATE, on="schema_version"),
    rights(Action.LIST_COLLECTIONS, Action.CREATE_COLLECTION, Action.COLL_MOD, on=EVERY_COLLECTION),
    indexes.RIGHTS,
    steps.RIGHTS,
)

_DOCUMENT = "database"
_NAMESPACE_EXISTS = 48

log = structlog.get_logger()


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


async def migrate(db: Database, retention: Retention = Retention()) -> bool:  # noqa: B008 - it is frozen
    """Bring the database to `VERSION`; True when something changed.

    The documents first, then validators and indexes, the version last: what broke off half way is done again. Raises
    `SchemaError`, before any change, when the database is newer.
    """
    found = await version(db)
    if found > VERSION:
        raise SchemaError(f"the database has schema version {found}, newer than this release's {VERSION}")
    for number in range(found + 1, VERSION + 1):
        if number in steps.STEPS:
            await steps.STEPS[number](db)
            log.info("documents_migrated", schema_version=number)
    existing: dict[str, Mapping[str, Any]] = {}
    async for collection in await db.list_collections():
        existing[collection["name"]] = collection.get("options", {})
    changed = False
    for wanted in COLLECTIONS:
        changed |= await _validate(db, wanted, existing.get(wanted.name))
        changed |= await indexes.set_indexes(db, wanted.name, wanted.wanted(retention))
    if found != VERSION:
        await db["schema_version"].update_one(
            {"_id": _DOCUMENT}, {"$set": {"version": VERSION, "applied_at": now()}}, upsert=True
        )
        changed = True
    return changed


async def _validate(db: Database, wanted: Collection, options: Mapping[str, Any] | None) -> bool:
    validator = {"$jsonSchema": wanted.schema}
    if options is None:
        try:
            await db.create_collection(wanted.name, validator=validator)
        except (CollectionInvalid, OperationFailure) as error:
            # Another migration was faster: pymongo sees it there, or MongoDB does.
            if isinstance(error, OperationFailure) and error.code != _NAMESPACE_EXISTS:
                raise
    elif options.get("validator") != validator:
        await db.command("collMod", wanted.name, validator=validator)
    else:
        return False
    return True
