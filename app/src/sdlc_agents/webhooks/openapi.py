"""The webhook API as an OpenAPI 3.1 document: https://spec.openapis.org/oas/v3.1.0

The service publishes it nowhere: it faces the internet, and its one caller is Jira.
"""

from typing import Any

from sdlc_agents import __version__
from sdlc_agents.webhooks.bodies import BODY_SECONDS, MAX_BODY_BYTES
from sdlc_agents.webhooks.payload import MAX_DEPTH

Document = dict[str, Any]

_DESCRIPTION = """\
Takes what Jira Cloud and Jira Data Center send, and starts a development when a ticket was moved to the trigger status
of its project. An answer of 200 `accepted` means that the event is stored durably and goes to the queue.

Every delivery is signed: `X-Hub-Signature: sha256=<hex>`, the HMAC-SHA256 of the raw body with the webhook's secret.
Errors are `{"error": …}`, and a 400 names the field. Other paths are answered 404, other methods 405 with `Allow`.
Every answer carries `X-Request-ID`, the caller's own where it was sent (8 to 64 letters, digits, `.`, `_`, `-`), by
which the log is searched."""

_KEY: Document = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"}
_TEXT: Document = {"type": ["string", "null"]}

_ERRORS: dict[str, tuple[str, str, str]] = {
    "400": (
        "BadRequest",
        f"No JSON object, nested deeper than {MAX_DEPTH} levels, or a field that is not what Jira sends",
        "issue.key: must be 1 to 255 letters, digits, _ or -",
    ),
    "401": ("Unauthorized", "The signature is missing or wrong; nothing is stored", "the signature is wrong"),
    "408": (
        "RequestTimeout",
        f"The body did not arrive within {BODY_SECONDS:g} seconds",
        f"the body did not arrive within {BODY_SECONDS:g} seconds",
    ),
    "413": (
        "PayloadTooLarge",
        f"The body is larger than {MAX_BODY_BYTES} bytes",
        f"the body is larger than {MAX_BODY_BYTES} bytes",
    ),
    "503": (
        "Unavailable",
        "The database is away, or too many deliveries wait; Jira sends it again",
        "the database is not available",
    ),
}

_PAYLOAD: Document = {
    "timestamp": 1772615730200,
    "webhookEvent": "jira:issue_updated",
    "issue_event_type_name": "issue_generic",
    "issue": {
        "id": "10042",
        "key": "SHOP-17",
        "fields": {
            "summary": "Total is wrong for more than 9 items",
            "description": "The *total* is wrong when the basket holds more than 9 items.",
            "status": {"name": "In Development"},
            "project": {"key": "SHOP"},
            "components": [{"name": "storefront"}],
        },
    },
    "changelog": {
        "id": "10210",
        "items": [
            {"field": "status", "fromString": "Selected for Development", "toString": "In Development"},
        ],
    },
}

_SCHEMAS: Document = {
    "Delivery": {
        "type": "object",
        "description": "What Jira sends. These are the fields that are read; all others may be there.",
        "properties": {
            "webhookEvent": {
                "type": "string",
                "description": "`jira:issue_created` and `jira:issue_updated` may start a development, others are "
                "ignored. A workflow's post function sends none.",
            },
            "issue_event_type_name": {"description": "What an update without a changelog was."},
            "issue": {"anyOf": [{"$ref": "#/components/schemas/Issue"}, {"type": "null"}]},
            "changelog": {"anyOf": [{"$ref": "#/components/schemas/Changelog"}, {"type": "null"}]},
            "transition": {
                "type": ["object", "null"],
                "description": "Of a post function.",
                "properties": {"from_status": _TEXT},
            },
            "comment": {"description": "With one, an update without a changelog is a comment."},
        },
        "examples": [_PAYLOAD],
    },
    "Issue": {
        "type": "object",
        "properties": {
            "id": {"anyOf": [_KEY, {"type": "integer", "minimum": 0}]},
            "key": _KEY,
            "fields": {"anyOf": [{"$ref": "#/components/schemas/Fields"}, {"type": "null"}]},
        },
    },
    "Fields": {
        "type": "object",
        "properties": {
            "summary": _TEXT,
            "description": {
                "type": ["string", "object", "null"],
                "description": "Text, or a document in the Atlassian Document Format, which becomes Markdown.",
            },
            "status": {"type": ["object", "null"], "properties": {"name": _TEXT}},
            "project": {
                "type": ["object", "null"],
                "description": "Without a key, the issue's key tells the project.",
                "properties": {"key": _KEY},
            },
            "components": {
                "type": ["array", "null"],
                "items": {"type": "object", "properties": {"name": _TEXT, "description": _TEXT}},
            },
        },
    },
    "Changelog": {
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"field": {"type": "string"}, "fromString": _TEXT, "toString": _TEXT},
                },
            }
        },
    },
    "Judgement": {
        "type": "object",
        "description": "What became of a delivery.",
        "required": ["status", "message"],
        "additionalProperties": False,
        "properties": {
            "status": {
                "enum": ["accepted", "duplicate", "ignored"],
                "description": "`accepted`: stored, and on its way; `duplicate`: accepted before; `ignored`: starts "
                "nothing, and is not stored",
            },
            "message": {"type": "string"},
        },
        "examples": [{"status": "accepted", "message": "SHOP-17 is queued"}],
    },
    "Health": {
        "type": "object",
        "required": ["status", "timestamp"],
        "additionalProperties": False,
        "properties": {"status": {"enum": ["healthy"]}, "timestamp": {"type": "string", "format": "date-time"}},
        "examples": [{"status": "healthy", "timestamp": "2026-03-04T09:15:30.123456Z"}],
    },
    "Error": {
        "type": "object",
        "description": "What went wrong, in a sentence.",
        "required": ["error"],
        "additionalProperties": False,
        "properties": {"error": {"type": "string"}},
        "examples": [{"error": "the signature is wrong"}],
    },
}


def document() -> Document:
    """The document, complete."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Webhook API", "version": __version__, "description": _DESCRIPTION},
        "security": [{"Signature": []}],
        "paths": {"/webhook": {"post": _deliver()}, "/health": {"get": _health()}},
        "components": {
            "schemas": _SCHEMAS,
            "responses": {name: _error(status, *told) for status, (name, *told) in _ERRORS.items()},
            "headers": {"RequestId": {"description": "The request's id in the log", "schema": {"type": "string"}}},
            "securitySchemes": {
                "Signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Hub-Signature",
                    "description": "`sha256=` and the HMAC-SHA256 of the raw body in hexadecimal digits, made with the "
                    "current or the previous secret.",
                }
            },
        },
    }


def _deliver() -> Document:
    judgements = {
        "accepted": {"status": "accepted", "message": "SHOP-17 is queued"},
        "duplicate": {"status": "duplicate", "message": "this delivery was accepted before"},
        "ignored": {"status": "ignored", "message": "the issue is not in the trigger status"},
    }
    return {
        "operationId": "deliver",
        "summary": "Take a delivery",
        "parameters": [
            _header(
                "X-Atlassian-Webhook-Identifier",
                "Names the delivery, also when Jira sends it again; without one of 1 to 255 visible ASCII characters "
                "its body does",
            ),
            _header("X-Atlassian-Webhook-Retry", "How often Jira has sent it before; counted, it decides nothing"),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Delivery"}, "example": _PAYLOAD},
            },
        },
        "responses": {
            "200": _ok(
                "What became of it", "Judgement", {name: {"value": value} for name, value in judgements.items()}
            ),
            **{status: {"$ref": f"#/components/responses/{name}"} for status, (name, *_) in _ERRORS.items()},
        },
    }


def _health() -> Document:
    example = {"healthy": {"value": _SCHEMAS["Health"]["examples"][0]}}
    return {
        "operationId": "health",
        "summary": "Whether the process lives",
        "security": [],
        "responses": {"200": _ok("It lives", "Health", example)},
    }


def _header(name: str, description: str) -> Document:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _ok(description: str, model: str, examples: Document) -> Document:
    content = {"schema": {"$ref": f"#/components/schemas/{model}"}, "examples": examples}
    return {"description": description, "headers": _headers(), "content": {"application/json": content}}


def _error(status: str, description: str, example: str) -> Document:
    headers = _headers()
    if status == "503":
        headers["Retry-After"] = {
            "description": "Seconds to wait before the next try",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    content = {"schema": {"$ref": "#/components/schemas/Error"}, "example": {"error": example}}
    return {"description": description, "headers": headers, "content": {"application/json": content}}


def _headers() -> Document:
    return {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
