"""Parsers: from the lines of a file to messages. Each is fed lines in order and gives messages back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import event
from .event import Event
from .options import Flat


@dataclass
class Message:
    """What a parser passes on: a text, the fields found so far, and where the next one starts."""

    text: str
    end: int
    fields: Event = field(default_factory=dict)


class Parser:
    """Passes messages on as they are."""

    def feed(self, message: Message) -> Iterator[Message]:
        """Take one message, and give those that are complete."""
        yield message

    def flush(self) -> Iterator[Message]:
        """Give what has waited long enough for more."""
        return iter(())


class Container(Parser):
    """Docker's json-file lines; a long line that Docker split is put together."""

    def __init__(self, options: Flat) -> None:
        self._stream = options.get("stream", "all")
        self._parts: dict[str, str] = {}

    def feed(self, message: Message) -> Iterator[Message]:
        """Take one line of a container's log."""
        try:
            line = json.loads(message.text)
            text, stream, when = line["log"], line["stream"], line["time"]
        except (ValueError, TypeError, KeyError):
            message.fields["error"] = {"message": "not a line of Docker's json-file log", "type": "json"}
            yield message
            return
        text = self._parts.pop(stream, "") + text
        if not text.endswith("\n"):
            self._parts[stream] = text
            return
        if self._stream not in ("all", stream):
            return
        message.text = text.rstrip("\r\n")
        message.fields["stream"] = stream
        if (moment := event.moment(when)) is not None:
            message.fields["@timestamp"] = event.stamp(moment)
        yield message


class Ndjson(Parser):
    """Each line is a JSON object."""

    def __init__(self, options: Flat) -> None:
        self._options = options

    def feed(self, message: Message) -> Iterator[Message]:
        """Take one line; what is no JSON object stays a text."""
        fields, problem = decoded(message.text)
        if fields is None:
            if self._options.get("add_error_key") and not self._options.get("ignore_decoding_error"):
                message.fields["error"] = {"message": problem, "type": "json"}
            yield message
            return
        key = self._options.get("message_key")
        value = fields.get(key) if key else None
        message.text = value if isinstance(value, str) else ""
        place(message.fields, fields, self._options)
        yield message


class Multiline(Parser):
    """Lines that follow a first one belong to it."""

    def __init__(self, options: Flat, clock: Callable[[], float] = time.monotonic) -> None:
        self._pattern = options["pattern"]
        self._negate = options.get("negate", False)
        self._lines = options.get("max_lines", 500)
        self._timeout = options.get("timeout", 5.0)
        self._clock = clock
        self._waiting: Message | None = None
        self._count = 0
        self._since = 0.0

    def feed(self, message: Message) -> Iterator[Message]:
        """Take one line."""
        follows = (self._pattern.search(message.text) is not None) != self._negate
        if self._waiting is not None and follows:
            if self._count < self._lines:
                self._waiting.text += "\n" + message.text
            self._count += 1
            self._waiting.end = message.end
            return
        if self._waiting is not None:
            yield self._waiting
        self._waiting, self._count, self._since = message, 1, self._clock()

    def flush(self) -> Iterator[Message]:
        """Give the message that has waited longer than the time-out."""
        if self._waiting is not None and self._clock() - self._since >= self._timeout:
            yield self._waiting
            self._waiting = None


def build(name: str, options: Flat) -> Parser:
    """The parser of that name."""
    return {"container": Container, "ndjson": Ndjson, "multiline": Multiline}[name](options)


def decoded(text: str) -> tuple[dict[str, Any] | None, str]:
    """The JSON object in *text*, or why there is none."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        return None, f"Error decoding JSON: {error}"
    if not isinstance(fields, dict):
        return None, "Error decoding JSON: not an object"
    return fields, ""


def place(target: Event, fields: dict[str, Any], options: Flat) -> None:
    """Put decoded *fields* where the options of ndjson or decode_json_fields want them."""
    if options.get("expand_keys"):
        fields = event.expanded(fields)
    if options.get("target"):
        event.put(target, options["target"], fields)
        return
    overwrite = options.get("overwrite_keys", False)
    fields = dict(fields)
    fields.pop("@metadata", None)
    own = fields.pop("@timestamp", None)
    if overwrite and own is not None:
        moment = event.moment(own) if isinstance(own, str) else None
        if moment is not None:
            target["@timestamp"] = event.stamp(moment)
        elif options.get("add_error_key"):
            target["error"] = {"message": "@timestamp not overwritten (parse error)", "type": "json"}
    event.merge(target, fields, overwrite=overwrite)
