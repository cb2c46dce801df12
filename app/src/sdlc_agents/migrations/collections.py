"""Every collection's indexes and JSON-schema validator.

The validators hold what all writers agree on; fields that one service keeps for itself are free. That of `developments`
knows every field: a test holds it against `sdlc_agents.developments.model`, which stands above this package. A
collection has the indexes that stand here and no other; where it has an `expiry`, a setting says for how many days its
documents are kept.
https://www.mongodb.com/docs/manual/core/schema-validation/
https://www.mongodb.com/docs/manual/core/index-ttl/
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pymongo import ASCENDING, DESCENDING, IndexModel

Schema = dict[str, Any]

STRING: Schema = {"bsonType": "string"}
KEY: Schema = {"bsonType": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"}
DATE: Schema = {"bsonType": "date"}
OPTIONAL_DATE: Schema = {"bsonType": ["date", "null"]}
OPTIONAL_STRING: Schema = {"bsonType": ["string", "null"]}
EVENT_KINDS: Schema = {"bsonType": "array", "items": {"enum": ["jira:issue_created", "jira:issue_updated"]}}
TRIGGER_STATUS: Schema = {"bsonType": "string", "minLength": 1, "maxLength": 100}
DAY_SECONDS = 24 * 60 * 60
INTEGER: Schema = {"bsonType": ["int", "long"]}
OPTIONAL_INTEGER: Schema = {"bsonType": ["int", "long", "null"]}
OPTIONAL_NUMBER: Schema = {"bsonType": ["number", "null"]}
DEVELOPMENT_STATES = ("queued", "running", "completed", "failed", "cancelled")
NOTICES = ("started", "ticket", "error_queue", "pull_request")
NOTICE_STATES = ("pending", "done", "refused")


@dataclass(frozen=True)
class Retention:
    """For how many days documents are kept; 0 keeps them for ever."""

    webhook_events_days: int = 0
    transcript_days: int = 0


@dataclass(frozen=True)
class Expiry:
    """Documents go when the date in `field` is longer ago than `days` of `Retention` says."""

    field: str
    days: Literal["webhook_events_days", "transcript_days"]
    partial: Schema | None = None

    def index(self, retention: Retention) -> IndexModel | None:
        """The TTL index; None where documents are kept for ever."""
        days: int = getattr(retention, self.days)
        if days == 0:
            return None
        options: dict[str, Any] = {} if self.partial is None else {"partialFilterExpression": self.partial}
        return IndexModel([(self.field, ASCENDING)], name="expiry", expireAfterSeconds=days * DAY_SECONDS, **options)


@dataclass(frozen=True)
class Collection:
    """One collection as it is to be."""

    name: str
    schema: Schema
    indexes: list[IndexModel] = field(default_factory=list)
    expiry: Expiry | None = None

    def wanted(self, retention: Retention) -> list[IndexModel]:
        """All its indexes, but for the one on `_id` that every collection has."""
        expiry = self.expiry.index(retention) if self.expiry is not None else None
        return self.indexes if expiry is None else [*self.indexes, expiry]


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    schema: Schema = {"bsonType": "object", "properties": {**required, **(optional or {})}}
    # MongoDB takes no empty list here.
    return {**schema, "required": list(required)} if required else schema


FOLLOW_UP: Schema = _object(
    {
        "pull_request_number": {"bsonType": "int"},
        "pull_request_url": STRING,
        "of": STRING,
        "requested_by": STRING,
        "comments": {"bsonType": "array", "items": _object({"author": STRING, "body": STRING})},
    }
)
LEASE: Schema = _object({}, {"owner": OPTIONAL_STRING, "fence": INTEGER, "expires_at": OPTIONAL_DATE})
TIMINGS: Schema = _object(
    {},
    {
        "accepted_at": OPTIONAL_DATE,
        "retried_at": OPTIONAL_DATE,
        "claimed_at": OPTIONAL_DATE,
        "agent_started_at": OPTIONAL_DATE,
        "agent_finished_at": OPTIONAL_DATE,
        "published_at": OPTIONAL_DATE,
    },
)
RESULT: Schema = _object({}, {"commit": STRING, "base": STRING, "turns": INTEGER, "seconds": {"bsonType": "number"}})
_REPOSITORY = _object(
    {
        "repository_id": STRING,
        "url": STRING,
        "git_access_token": {"bsonType": "binData"},
        "git_access_token_hint": STRING,
    },
    {"description": STRING, "base_branch": OPTIONAL_STRING, "forge": {"enum": ["github", "gitlab", "gitea", None]}},
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
                "agent": {"bsonType": "object"},
                "pull_requests": {"bsonType": "object"},
                "ticket": {"bsonType": "object"},
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
            IndexModel([("requested_at", ASCENDING)], name="expiry", expireAfterSeconds=DAY_SECONDS),
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
        # What the broker has not taken is kept, however old it is.
        Expiry("processed_at", "webhook_events_days", {"state": "published"}),
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
                # Absent in those of older releases: a ticket's.
                "kind": {"enum": ["ticket", "follow_up"]},
                "follow_up": FOLLOW_UP,
                "webhook_event_id": OPTIONAL_STRING,
                "summary": STRING,
                "description": STRING,
                "components": {"bsonType": ["array", "null"]},
                "repository_url": OPTIONAL_STRING,
                "branch_name": OPTIONAL_STRING,
                "ticket": {"bsonType": ["object", "null"]},
                "lease": LEASE,
                "attempts": OPTIONAL_INTEGER,
                "attempts_before": OPTIONAL_INTEGER,
                "attempts_log": {"bsonType": "array"},
                "timings": TIMINGS,
                "result": RESULT,
                "check": {"bsonType": ["object", "null"]},
                "retry_requested_at": OPTIONAL_DATE,
                "cancel_requested_at": OPTIONAL_DATE,
                "cancel_requested_by": OPTIONAL_STRING,
                "outcome": OPTIONAL_STRING,
                "error_message": OPTIONAL_STRING,
                "pr_mr_url": OPTIONAL_STRING,
                "pr_mr_number": OPTIONAL_INTEGER,
                "development_details": OPTIONAL_STRING,
                "turns": OPTIONAL_INTEGER,
                "duration_seconds": OPTIONAL_NUMBER,
                "cost_usd": OPTIONAL_NUMBER,
                "usage": {"bsonType": ["object", "null"]},
                "completed_at": OPTIONAL_DATE,
                "notices": _object({}, {notice: {"enum": list(NOTICE_STATES)} for notice in NOTICES}),
                "notice_after": OPTIONAL_DATE,
            },
        ),
        [
            # Whose pull requests are asked for reviews.
            IndexModel(
                [("completed_at", DESCENDING)],
                name="with_pull_request",
                partialFilterExpression={"pr_mr_url": {"$type": "string"}},
            ),
            IndexModel([("jira_project_key", ASCENDING), ("_id", DESCENDING)], name="by_project"),
            IndexModel([("status", ASCENDING), ("_id", DESCENDING)], name="by_status"),
            IndexModel([("jira_issue_key", ASCENDING), ("_id", DESCENDING)], name="by_ticket"),
            # A ticket's second activation waits for the end of the first.
            IndexModel(
                [("jira_issue_key", ASCENDING)],
                name="one_run_a_ticket",
                unique=True,
                partialFilterExpression={"status": "running"},
            ),
            # Idle consumers look here each second.
            IndexModel(
                [("retry_requested_at", ASCENDING)],
                name="retries",
                partialFilterExpression={"retry_requested_at": {"$exists": True}},
            ),
            # And here, busy or not.
            *(
                IndexModel(
                    [(f"notices.{notice}", ASCENDING)],
                    name=f"untold_{notice}",
                    partialFilterExpression={f"notices.{notice}": "pending"},
                )
                for notice in NOTICES
            ),
        ],
    ),
    # What consumers know of the pull requests that they ask for reviews, by their addresses.
    Collection(
        "pull_request_watches",
        _object(
            {
                "_id": STRING,
                "development_id": STRING,
                "jira_project_key": KEY,
                "repository_url": STRING,
                "forge": STRING,
                "state": {"enum": ["open", "closed"]},
                "since": DATE,
                "handled": {"bsonType": "array", "items": _object({"id": STRING, "at": DATE})},
                "next_at": DATE,
                "touched_at": DATE,
            },
            {"number": INTEGER},
        ),
        [
            IndexModel([("forge", ASCENDING)], name="by_forge"),
            # Far longer than reviews are asked for.
            IndexModel([("touched_at", ASCENDING)], name="expiry", expireAfterSeconds=500 * DAY_SECONDS),
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
    # What the model cost, by project and day, project and month, and month of the appliance.
    Collection(
        "llm_spending",
        _object({"_id": STRING, "cost_usd": {"bsonType": "number"}, "begins_at": DATE, "expires_at": DATE}),
        [IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0)],
    ),
    Collection(
        "agent_events",
        _object({"development_id": STRING}, {"stored_at": DATE}),
        [IndexModel([("development_id", ASCENDING), ("_id", ASCENDING)], name="by_development")],
        # `at` is what a runner says; how long it is kept goes by the consumer's clock.
        Expiry("stored_at", "transcript_days"),
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
        [
            IndexModel([("entity_id", ASCENDING), ("_id", DESCENDING)], name="by_entity"),
            IndexModel([("action", ASCENDING), ("_id", DESCENDING)], name="by_action"),
            IndexModel([("actor.key_id", ASCENDING), ("_id", DESCENDING)], name="by_actor"),
            IndexModel([("actor.name", ASCENDING), ("_id", DESCENDING)], name="by_actors_name"),
        ],
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
