"""Gives a collection exactly the indexes that it is to have."""

from collections.abc import Mapping
from typing import Any

import structlog
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from sdlc_agents.kernel.errors import ConflictError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.rights import EVERY_COLLECTION, Action, rights

Definition = dict[str, Any]

RIGHTS = rights(Action.LIST_INDEXES, Action.CREATE_INDEX, Action.DROP_INDEX, Action.COLL_MOD, on=EVERY_COLLECTION)

_OPTIONS = ("unique", "partialFilterExpression", "expireAfterSeconds")
_TTL = "expireAfterSeconds"
_PRIMARY = "_id_"

log = structlog.get_logger()


async def set_indexes(db: Database, collection: str, wanted: list[IndexModel]) -> bool:
    """Build what lacks, replace what differs, drop what is not wanted; True when something changed.

    A time to live alone is changed in place. Raises `ConflictError` when documents that are there stand against a
    unique index.
    """
    existing = {
        name: _definition(dict(index["key"]), index)
        for name, index in (await db[collection].index_information()).items()
        if name != _PRIMARY
    }
    changed = False
    for index in wanted:
        name = index.document["name"]
        before, after = existing.pop(name, None), _definition(dict(index.document["key"]), index.document)
        if before == after:
            continue
        changed = True
        if before is not None and _but_for_time(before) == _but_for_time(after) and _TTL in before and _TTL in after:
            await db.command("collMod", collection, index={"name": name, _TTL: after[_TTL]})
        else:
            if before is not None:
                await db[collection].drop_index(name)
            await _build(db, collection, index)
        log.info("index_set", collection=collection, index=name)
    for name in existing:
        await db[collection].drop_index(name)
        log.info("index_dropped", collection=collection, index=name)
    return changed or bool(existing)


async def _build(db: Database, collection: str, index: IndexModel) -> None:
    try:
        await db[collection].create_indexes([index])
    except DuplicateKeyError as error:
        fields = ", ".join(index.document["key"])
        raise ConflictError(
            f"several documents of {collection} have the same {fields}, which is to be unique: remove all but one"
        ) from error


def _definition(key: Mapping[str, Any], options: Mapping[str, Any]) -> Definition:
    # The order of a key's fields is part of it.
    return {"key": list(key.items()), **{name: options[name] for name in _OPTIONS if options.get(name)}}


def _but_for_time(definition: Definition) -> Definition:
    return {name: value for name, value in definition.items() if name != _TTL}
