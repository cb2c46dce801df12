"""An event: a tree of fields that are addressed by dotted paths."""

from __future__ import annotations

import datetime
import re
from typing import Any

# What JSON can hold.
Json = Any
Event = dict[str, Json]
_ABSENT = object()


def get(event: Event, path: str, default: Json = None) -> Json:
    """The value at *path*, whether it is nested or its key has dots."""
    if path in event:
        return event[path]
    head, _, rest = path.partition(".")
    inner = event.get(head, _ABSENT)
    return get(inner, rest, default) if rest and isinstance(inner, dict) else default


def has(event: Event, path: str) -> bool:
    """Whether there is a value at *path*."""
    return get(event, path, _ABSENT) is not _ABSENT


def put(event: Event, path: str, value: Json) -> None:
    """Set the value at *path*; what is in the way is replaced."""
    *folders, last = path.split(".")
    for folder in folders:
        inner = event.get(folder)
        if not isinstance(inner, dict):
            inner = event[folder] = {}
        event = inner
    event[last] = value


def remove(event: Event, path: str) -> bool:
    """Remove the value at *path*, and tell whether there was one."""
    if path in event:
        del event[path]
        return True
    head, _, rest = path.partition(".")
    inner = event.get(head)
    return remove(inner, rest) if rest and isinstance(inner, dict) else False


def merge(event: Event, fields: Event, *, overwrite: bool) -> None:
    """Merge *fields* into *event*, key by key, all the way down."""
    for key, value in fields.items():
        there = event.get(key, _ABSENT)
        if isinstance(there, dict) and isinstance(value, dict):
            merge(there, value, overwrite=overwrite)
        elif overwrite or there is _ABSENT:
            event[key] = value


def expanded(fields: Json) -> Json:
    """*fields* with dotted keys opened up."""
    if isinstance(fields, list):
        return [expanded(item) for item in fields]
    if not isinstance(fields, dict):
        return fields
    result: Event = {}
    for key, value in fields.items():
        put(result, key, expanded(value))
    return result


def moment(value: str) -> datetime.datetime | None:
    """The time that an RFC 3339 text with a zone names."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)", value)
    if not found:
        return None
    micro = (found[2] or "")[:6].ljust(6, "0")
    try:
        return datetime.datetime.fromisoformat(f"{found[1]}.{micro}{found[3].replace('Z', '+00:00')}")
    except ValueError:
        return None


def stamp(time: datetime.datetime) -> str:
    """*time* as Filebeat writes it: UTC with milliseconds."""
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def now() -> str:
    """This moment."""
    return stamp(datetime.datetime.now(datetime.UTC))


def formatted(template: str, event: Event) -> str:
    """Fill Filebeat's format string: %{[field]}, %{[field]:default}, %{+yyyy.MM.dd}.

    Raises:
        KeyError: A field has no value and no default.
    """
    time = moment(str(event["@timestamp"]))

    def replacement(found: re.Match[str]) -> str:
        body = found[1]
        if body.startswith("+"):
            if time is None or not re.fullmatch(r"[yMdHm.\-_]+", body[1:]):
                raise KeyError(body)
            pairs = (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"))
            layout = body[1:]
            for joda, posix in pairs:
                layout = layout.replace(joda, posix)
            return time.astimezone(datetime.UTC).strftime(layout)
        name, separator, default = body.partition("]")
        value = get(event, name.removeprefix("["))
        if value is not None:
            return str(value)
        if separator and default.startswith(":"):
            return default[1:]
        raise KeyError(name)

    return re.sub(r"%\{([^}]+)\}", replacement, template)
