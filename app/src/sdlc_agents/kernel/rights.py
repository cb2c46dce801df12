"""Rights in the database, in MongoDB's own words.

Each module that speaks to MongoDB declares, beside the code, what that code needs; `commands.database_rights` adds
these up for each service's user, and a test holds the roles in group_vars/all/mongodb.yml against the sums.
https://www.mongodb.com/docs/manual/reference/privilege-actions/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What a user may do, by MongoDB's names.

    `FIND` is also what aggregations and counts need, `INSERT` an upsert (with `UPDATE`).
    """

    FIND = "find"
    INSERT = "insert"
    UPDATE = "update"
    REMOVE = "remove"
    CREATE_COLLECTION = "createCollection"
    LIST_COLLECTIONS = "listCollections"
    COLL_MOD = "collMod"
    CREATE_INDEX = "createIndex"
    DROP_INDEX = "dropIndex"
    LIST_INDEXES = "listIndexes"
    COLL_STATS = "collStats"
    DB_STATS = "dbStats"
    LIST_DATABASES = "listDatabases"
    SERVER_STATUS = "serverStatus"
    TOP = "top"
    REPLICA_SET_CONFIG = "replSetGetConfig"
    REPLICA_SET_STATUS = "replSetGetStatus"


@dataclass(frozen=True)
class Resource:
    """What a right is for: a collection, in the appliance's database unless another is named.

    An empty name of a collection or a database stands for all of them, as in MongoDB; `cluster` for the servers.
    """

    collection: str = ""
    database: str | None = None
    cluster: bool = False

    def document(self, database: str) -> dict[str, Any]:
        """As MongoDB's commands take it; `database` is the appliance's."""
        if self.cluster:
            return {"cluster": True}
        return {"db": database if self.database is None else self.database, "collection": self.collection}


Rights = Mapping[Resource, frozenset[Action]]

EVERY_COLLECTION = Resource()
CLUSTER = Resource(cluster=True)


def rights(*actions: Action, on: str | Resource) -> Rights:
    """These actions on a collection of the appliance's database, or on something else."""
    return {Resource(on) if isinstance(on, str) else on: frozenset(actions)}


def together(*declared: Rights) -> Rights:
    """All of these."""
    found: dict[Resource, frozenset[Action]] = {}
    for one in declared:
        for resource, actions in one.items():
            found[resource] = found.get(resource, frozenset()) | actions
    return found


def privileges(declared: Rights, database: str) -> list[dict[str, Any]]:
    """As MongoDB's `createRole` takes them; `database` is the appliance's."""
    return [
        {"resource": resource.document(database), "actions": sorted(actions)} for resource, actions in declared.items()
    ]
