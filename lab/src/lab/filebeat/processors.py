"""Processors: what is done to every event before it is sent. A processor returns None to drop it."""

from __future__ import annotations

import copy
import datetime
import http.client
import json
import re
import socket
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import event as fields
from .event import Event, Json
from .options import ConfigError, Flat
from .parsers import decoded, place

Processor = Callable[[Event], Event | None]


def build(name: str, options: Flat) -> Processor:
    """The processor of that name, held to its `when`."""
    condition = _condition(options["when"]) if "when" in options else None
    maker = _MAKERS[name]
    process = maker(options)
    if name == "drop_event" and condition is None:
        raise ConfigError("drop_event: needs a condition")
    if condition is None:
        return process
    return lambda event: process(event) if condition(event) else event


def _add_fields(options: Flat) -> Processor:
    target = options.get("target", "fields")

    def process(event: Event) -> Event:
        new: Event = options["fields"] if target == "" else {}
        if target:
            fields.put(new, target, options["fields"])
        fields.merge(event, copy.deepcopy(new), overwrite=True)
        return event

    return process


def _add_labels(options: Flat) -> Processor:
    return _add_fields({"target": "labels", "fields": options["labels"]})


def _add_tags(options: Flat) -> Processor:
    def process(event: Event) -> Event:
        target = options.get("target", "tags")
        fields.put(event, target, [*fields.get(event, target, []), *options["tags"]])
        return event

    return process


def _add_host_metadata(_: Flat) -> Processor:
    release = _os_release()
    host = {
        "hostname": socket.gethostname(),
        "os": {
            "type": "linux",
            "platform": release.get("ID", ""),
            "version": release.get("VERSION", ""),
            "name": release.get("NAME", ""),
            "codename": release.get("VERSION_CODENAME", ""),
        },
    }

    def process(event: Event) -> Event:
        fields.merge(event, {"host": host}, overwrite=True)
        return event

    return process


def _add_docker_metadata(options: Flat) -> Processor:
    address = options.get("host", "unix:///var/run/docker.sock")
    if not address.startswith("unix://"):
        raise ConfigError("add_docker_metadata: this stand-in asks a unix socket only")
    index = options.get("match_source_index", 4)
    dedot = options.get("labels.dedot", True)

    @lru_cache(maxsize=512)
    def container(identity: str) -> str:
        connection = _UnixConnection(address.removeprefix("unix://"))
        connection.request("GET", f"/containers/{identity}/json", headers={"Host": "docker"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        if answer.status != 200:
            return "{}"
        labels = found["Config"]["Labels"] or {}
        if dedot:
            labels = {key.replace(".", "_"): value for key, value in labels.items()}
        name, image = found["Name"].lstrip("/"), {"name": found["Config"]["Image"]}
        return json.dumps({"id": identity, "name": name, "image": image, "labels": labels})

    def process(event: Event) -> Event:
        parts = str(fields.get(event, "log.file.path", "")).split("/")[1:]
        if len(parts) > index and re.fullmatch(r"[0-9a-f]{64}", parts[index]):
            try:
                fields.merge(event, {"container": json.loads(container(parts[index]))}, overwrite=True)
            except OSError:  # the engine does not answer: Filebeat then adds nothing
                fields.put(event, "container.id", parts[index])
        return event

    return process


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self._path)


def _move(options: Flat, *, keep: bool) -> Processor:
    pairs = [(pair["from"], pair["to"]) for pair in options["fields"]]
    strict = options.get("fail_on_error", True) and not options.get("ignore_missing", False)

    def process(event: Event) -> Event:
        for source, target in pairs:
            if not fields.has(event, source):
                if strict:
                    fields.put(event, "error.message", f"could not fetch value for key: {source}")
                    return event
                continue
            if fields.has(event, target):
                if options.get("fail_on_error", True):
                    fields.put(event, "error.message", f"target field {target} already exists")
                    return event
                continue
            value = fields.get(event, source)
            if not keep:
                fields.remove(event, source)
            fields.put(event, target, value)
        return event

    return process


def _decode_json_fields(options: Flat) -> Processor:
    depth = options.get("max_depth", 1)
    if options.get("process_array") or depth < 1:
        raise ConfigError("decode_json_fields: this stand-in decodes objects only, to a depth of 1 or more")

    def process(event: Event) -> Event:
        for path in options["fields"]:
            text = fields.get(event, path)
            if not isinstance(text, str):
                continue
            value, problem = decoded(text)
            if value is None:
                if options.get("add_error_key"):
                    event["error"] = {"message": problem, "data": text, "field": path}
                continue
            _decode_inner(value, depth - 1)
            if "target" not in options:
                fields.put(event, path, value)
            else:
                place(event, value, options)
        return event

    return process


def _decode_inner(tree: Event, depth: int) -> None:
    """Decode the texts in *tree* that hold JSON objects themselves."""
    for key, value in tree.items() if depth > 0 else ():
        inner = decoded(value)[0] if isinstance(value, str) else value
        if isinstance(inner, dict):
            _decode_inner(inner, depth if inner is value else depth - 1)
            tree[key] = inner


def _drop_fields(options: Flat) -> Processor:
    names = [name for name in options["fields"] if name not in {"@timestamp", "type"}]

    def process(event: Event) -> Event:
        for name in names:
            if not fields.remove(event, name) and not options.get("ignore_missing", False):
                fields.put(event, "error.message", f"field {name} is not there to drop")
        return event

    return process


def _include_fields(options: Flat) -> Processor:
    def process(event: Event) -> Event:
        kept: Event = {"@timestamp": event["@timestamp"]}
        for name in options["fields"]:
            if fields.has(event, name):
                fields.put(kept, name, fields.get(event, name))
        return kept

    return process


def _timestamp(options: Flat) -> Processor:
    layouts = [_posix_layout(layout) for layout in options["layouts"]]
    if options.get("timezone", "UTC") != "UTC":
        raise ConfigError("timestamp: this stand-in has timezone UTC only")

    def parsed(text: str) -> datetime.datetime | None:
        for layout in layouts:
            try:
                moment = datetime.datetime.strptime(text, layout)  # noqa: DTZ007 - the next line sees to it
            except ValueError:
                continue
            return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return None

    for sample in options.get("test", []):
        if parsed(sample) is None:
            raise ConfigError(f"timestamp: no layout fits the test value {sample}")

    def process(event: Event) -> Event:
        value = fields.get(event, options["field"])
        moment = parsed(value) if isinstance(value, str) else None
        if moment is not None:
            fields.put(event, options.get("target_field", "@timestamp"), fields.stamp(moment))
        elif not options.get("ignore_failure") and not (value is None and options.get("ignore_missing")):
            fields.put(event, "error.message", f"failed parsing time field {options['field']}")
        return event

    return process


def _posix_layout(layout: str) -> str:
    """Go's layout (a way to write 2006-01-02 15:04:05) as strptime's."""
    pairs = (
        (".999999999", ".%f"), (".999999", ".%f"), (".999", ".%f"), (".000000", ".%f"), (".000", ".%f"),
        ("2006", "%Y"), ("Jan", "%b"), ("01", "%m"), ("02", "%d"), ("_2", "%d"), ("15", "%H"),
        ("04", "%M"), ("05", "%S"), ("Z07:00", "%z"), ("-0700", "%z"), ("-07:00", "%z"),
    )  # fmt: skip
    for go, posix in pairs:
        layout = layout.replace(go, posix)
    return layout


def _condition(tree: Json) -> Callable[[Event], bool]:
    if not isinstance(tree, dict) or len(tree) != 1:
        raise ConfigError("when: one condition is needed; join more of them by and, or, not")
    ((name, body),) = tree.items()
    if name in {"and", "or"}:
        parts = [_condition(part) for part in body]
        join = all if name == "and" else any
        return lambda event: join(part(event) for part in parts)
    if name == "not":
        inner = _condition(body)
        return lambda event: not inner(event)
    if name == "has_fields":
        return lambda event: all(fields.has(event, path) for path in body)
    if name not in {"equals", "contains", "regexp"}:
        raise ConfigError(f"when: {name} is not a condition that this stand-in has")
    wanted = _leaves(body)
    compare: Callable[[Any, Any], bool] = {
        "equals": lambda value, sought: bool(value == sought),
        "contains": lambda value, sought: isinstance(value, str | list) and sought in value,
        "regexp": lambda value, sought: isinstance(value, str) and re.search(sought, value) is not None,
    }[name]
    return lambda event: all(compare(fields.get(event, path), sought) for path, sought in wanted.items())


def _leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found.update(_leaves(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key: value.strip('"') for key, _, value in pairs}


_MAKERS: dict[str, Callable[[Flat], Processor]] = {
    "add_docker_metadata": _add_docker_metadata,
    "add_fields": _add_fields,
    "add_host_metadata": _add_host_metadata,
    "add_labels": _add_labels,
    "add_tags": _add_tags,
    "copy_fields": lambda options: _move(options, keep=True),
    "decode_json_fields": _decode_json_fields,
    "drop_event": lambda _: lambda _: None,
    "drop_fields": _drop_fields,
    "include_fields": _include_fields,
    "rename": lambda options: _move(options, keep=False),
    "timestamp": _timestamp,
}
