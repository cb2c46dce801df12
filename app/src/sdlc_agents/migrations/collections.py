"""Every collection's indexes and JSON-schema validator.

The validators hold what all writers agree on; fields that one service keeps for itself are free.
https://www.mongodb.com/docs/manual/core/schema-validation/
"""

from dataclasses import dataclass, field
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

Schema = dict[str, Any]

STRING: Schema = {"bsonType": "string"}
KEY: Schema = {"bsonType": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"}
DATE: Schema = {"bsonType": "date"}
OPTIONAL_DATE: Schema = {"bsonType": ["date", "null"]}
OPTIONAL_STRING: Schema = {"bsonType": ["string", "null"]}
EVENT_KINDS: Schema = {"bsonType": "array", "items": {"enum": ["jira:issue_created", "jira:issue_updated"]}}
TRIGGER_STATUS: Schema = {"bsonType": "string", "minLength": 1, "maxLength": 100}
DEVELOPMENT_STATES = ("queued", "running", "completed", "failed", "cancelled")


@dataclass(frozen=True)
class Collection:
    """One collection as it is to be."""

    name: str
    schema: Schema
    indexes: list[IndexModel] = field(default_factory=list)


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"bsonType": "object", "required": list(required), "properties": {**required, **(optional or {})}}


_REPOSITORY = _object(
    {
        "repository_id": STRING,
        "url": STRING,
        "git_access_token": {"bsonType": "binData"},
        "git_access_token_hint": STRING,
    },
    {"description": STRING, "base_branch": OPTIONAL_STRING},
)

COLLECTIONS: tuple[Collection, ...] = (
    Collection(
        "projects",
        _object(
            {
                "_id": STRING,
                "name": {"bsonType": "string", "minLength": 1, "maxLength": 200},
                "jira_project_key": KEY,
                "repositories": {"bsonType": "array", "minItems": 1, "items": _REPOSITORY},
                "created_at": DATE,
                "updated_at": DATE,
            },
            {
                "description": STRING,
                "scope": STRING,
                "jira_project_name": STRING,
                "jira_project_url": STRING,
                "revision": {"bsonType": "int", "minimum": 1},
                "trigger": _object({"status": TRIGGER_STATUS, "event_kinds": EVENT_KINDS}),
            },
        ),
        [IndexModel([("jira_project_key", ASCENDING)], name="jira_project_key", unique=True)],
    ),
    # What the webhook API may know of projects, by their Jira keys: written in the transaction that writes the project.
    Collection(
        "project_triggers",
        _object({"_id": KEY, "status": TRIGGER_STATUS, "event_kinds": EVENT_KINDS, "updated_at": DATE}),
    ),
    # Questions to a forge, which the configuration API asks and a consumer answers.
    Collection(
        "project_checks",
        _object({"_id": STRING, "project_id": STRING, "requested_at": DATE, "state": {"enum": ["waiting", "done"]}}),
        [
            IndexModel([("state", ASCENDING), ("requested_at", ASCENDING)], name="by_state"),
            IndexModel([("requested_at", ASCENDING)], name="expiry", expireAfterSeconds=24 * 60 * 60),
        ],
    ),
    Collection(
        "webhook_events",
        _object(
            {
                "_id": STRING,
                "delivery_id": STRING,
                "development_id": STRING,
                "jira_issue_id": KEY,
                "jira_issue_key": KEY,
                "jira_project_key": KEY,
                "status": STRING,
                "event_type": STRING,
                "received_at": DATE,
                "raw_payload": STRING,
                "state": {"enum": ["stored", "published"]},
            },
            {
                "summary": STRING,
                "description": STRING,
                "previous_status": OPTIONAL_STRING,
                "processed_at": OPTIONAL_DATE,
            },
        ),
        [
            IndexModel([("delivery_id", ASCENDING)], name="delivery_id", unique=True),
            IndexModel([("jira_project_key", ASCENDING), ("_id", DESCENDING)], name="by_project"),
            IndexModel(
                [("state", ASCENDING), ("_id", ASCENDING)], name="outbox", partialFilterExpression={"state": "stored"}
            ),
        ],
    ),
    Collection(
        "developments",
        _object(
            {
                "_id": STRING,
                "status": {"enum": list(DEVELOPMENT_STATES)},
                "jira_issue_id": KEY,
                "jira_issue_key": KEY,
                "jira_project_key": KEY,
                "prompt": STRING,
                "created_at": DATE,
            },
            {
                "summary": STRING,
                "description": STRING,
                "repository_url": OPTIONAL_STRING,
                "branch_name": OPTIONAL_STRING,
                "pr_mr_url": OPTIONAL_STRING,
                "error_message": OPTIONAL_STRING,
                "completed_at": OPTIONAL_DATE,
            },
        ),
        [
            IndexModel([("jira_project_key", ASCENDING), ("_id", DESCENDING)], name="by_project"),
            IndexModel([("status", ASCENDING), ("_id", DESCENDING)], name="by_status"),
            IndexModel([("jira_issue_key", ASCENDING), ("_id", DESCENDING)], name="by_ticket"),
        ],
    ),
    Collection(
        "agent_jobs",
        _object({"token_sha256": STRING, "development_id": STRING}),
        [
            IndexModel([("token_sha256", ASCENDING)], name="token_sha256", unique=True),
            IndexModel([("development_id", ASCENDING)], name="by_development"),
        ],
    ),
    Collection(
        "agent_events",
        _object({"development_id": STRING}),
        [IndexModel([("development_id", ASCENDING), ("_id", ASCENDING)], name="by_development")],
    ),
    Collection(
        "api_keys",
        _object(
            {
                "_id": STRING,
                "name": {"bsonType": "string", "minLength": 1, "maxLength": 200},
                "key_sha256": {"bsonType": "string", "pattern": "^[0-9a-f]{64}$"},
                "scopes": {"bsonType": "array", "minItems": 1, "items": {"enum": ["read", "write", "admin"]}},
                "created_at": DATE,
            },
            {"expires_at": OPTIONAL_DATE, "revoked_at": OPTIONAL_DATE, "last_used_at": OPTIONAL_DATE},
        ),
        [IndexModel([("key_sha256", ASCENDING)], name="key_sha256", unique=True)],
    ),
    Collection(
        "audit_log",
        _object({"_id": STRING, "at": DATE, "action": STRING, "actor": _object({"key_id": STRING, "name": STRING})}),
        [IndexModel([("entity_id", ASCENDING), ("_id", DESCENDING)], name="by_entity")],
    ),
    Collection(
        "encryption_keys",
        _object({"keyMaterial": {"bsonType": "binData"}}),
        [
            IndexModel(
                [("keyAltNames", ASCENDING)],
                name="key_alt_names",
                unique=True,
                partialFilterExpression={"keyAltNames": {"$exists": True}},
            )
        ],
    ),
    Collection("schema_version", _object({"_id": STRING, "version": {"bsonType": "int"}, "applied_at": DATE})),
)
