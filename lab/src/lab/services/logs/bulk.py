"""The NDJSON of Elasticsearch's Bulk API, as its reference describes it, for `create` and `index` only."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.services.documents import Json

_INDEX = re.compile(r"sdlc-agent-(\d{4}\.\d{2}\.\d{2})\Z")
_META = {"_index", "_id", "require_alias", "dynamic_templates", "pipeline", "routing"}


class BulkError(Exception):
    """The request is no bulk request that this store takes."""


@dataclass(frozen=True)
class Item:
    """One document and what shall be done with it."""

    action: str
    index: str
    identity: str | None
    document: Mapping[str, Any]


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BulkError(f"line {number} is not JSON") from error
    if not isinstance(value, dict):
        raise BulkError(f"line {number} is not a JSON object")
    return value


def check_index(name: Json) -> str:
    """The name, if it is `sdlc-agent-` and a date that exists."""
    found = _INDEX.match(name) if isinstance(name, str) else None
    if not found:
        raise BulkError(f"index {name!r} does not match sdlc-agent-YYYY.MM.DD")
    try:
        datetime.datetime.strptime(found[1], "%Y.%m.%d")  # noqa: DTZ007 - a day, not a moment
    except ValueError as error:
        raise BulkError(f"index {name!r} names no day") from error
    return found[0]


def _action(line: bytes, number: int, default_index: str | None) -> tuple[str, str, str | None]:
    entry = _object(line, number)
    if len(entry) != 1:
        raise BulkError(f"line {number} must hold exactly one action")
    ((action, meta),) = entry.items()
    if action not in {"create", "index"}:
        raise BulkError(f"line {number}: action {action!r} is not taken from a log shipper")
    if not isinstance(meta, dict) or not meta.keys() <= _META:
        raise BulkError(f"line {number}: the action's metadata has unknown fields")
    identity = meta.get("_id")
    if identity is not None and (not isinstance(identity, str) or not 0 < len(identity) <= 512):
        raise BulkError(f"line {number}: _id must be a string of 1 to 512 characters")
    return action, check_index(meta.get("_index", default_index)), identity


def _document(line: bytes, number: int) -> dict[str, Any]:
    document = _object(line, number)
    stamp = document.get("@timestamp")
    if not isinstance(stamp, str):
        raise BulkError(f"line {number}: a log event needs @timestamp")
    try:
        moment = datetime.datetime.fromisoformat(stamp)
    except ValueError as error:
        raise BulkError(f"line {number}: @timestamp is not ISO 8601") from error
    if moment.tzinfo is None:
        raise BulkError(f"line {number}: @timestamp has no zone")
    return document


def parse(body: bytes, default_index: str | None = None) -> list[Item]:
    """The items of a bulk body; BulkError names the first line that is wrong."""
    if not body:
        raise BulkError("request body is required")
    if not body.endswith(b"\n"):
        raise BulkError("The bulk request must be terminated by a newline [\\n]")
    lines = body[:-1].split(b"\n")
    if len(lines) % 2:
        raise BulkError("the last action has no document")
    items = []
    for start in range(0, len(lines), 2):
        action, index, identity = _action(lines[start], start + 1, default_index)
        items.append(Item(action, index, identity, _document(lines[start + 1], start + 2)))
    return items
