"""Sources: files that grow and rotate, and the journal. Each gives messages with the position after them."""

from __future__ import annotations

import glob
import json
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import parsers
from .event import Event, Json
from .parsers import Message, Parser
from .registry import Registry
from .settings import Input

_LINE_LIMIT = 10 * 1024 * 1024


@dataclass
class Read:
    """A message, what is known of its origin, and the position to remember once it is shipped."""

    message: Message
    origin: Event
    key: str
    state: dict[str, Any]


class _File:
    """One open file. It is read on after it was renamed, until nothing more comes."""

    def __init__(self, path: str, offset: int, chain: list[Parser]) -> None:
        self.path = path
        self.handle = Path(path).open("rb")  # noqa: SIM115 - open while the file grows
        facts = os.fstat(self.handle.fileno())
        self.device, self.inode = facts.st_dev, facts.st_ino
        self.offset = offset if offset <= facts.st_size else 0
        self.active = time.monotonic()
        self.chain = chain

    def lines(self) -> Iterator[Message]:
        if os.fstat(self.handle.fileno()).st_size < self.offset:
            self.offset = 0  # truncated
        self.handle.seek(self.offset)
        for line in iter(lambda: self.handle.readline(_LINE_LIMIT), b""):
            if not line.endswith(b"\n") and len(line) < _LINE_LIMIT:
                break  # still being written
            self.offset += len(line)
            self.active = time.monotonic()
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            yield from _through(self.chain, Message(text, self.offset))
        yield from _flushed(self.chain)

    def gone(self) -> bool:
        return os.fstat(self.handle.fileno()).st_nlink == 0


class Files:
    """The files of one filestream or container input."""

    def __init__(self, entry: Input, registry: Registry) -> None:
        self._entry, self._registry = entry, registry
        options = entry.options
        names = ("prospector.scanner.check_interval", "scan_frequency")
        self._interval = next((options[name] for name in names if name in options), 10.0)
        names = ("close.on_state_change.inactive", "close_inactive")
        self._inactive = next((options[name] for name in names if name in options), 300.0)
        self._max_age = options.get("ignore_older", 0)
        self._next_scan = 0.0
        self._open: dict[str, _File] = {}

    def read(self) -> Iterator[Read]:
        """What is new, file by file."""
        if time.monotonic() >= self._next_scan:
            self._scan()
            self._next_scan = time.monotonic() + self._interval
        for key, file in list(self._open.items()):
            for message in file.lines():
                if self._wanted(message.text):
                    yield self._read(key, file, message)
            if file.gone() or time.monotonic() - file.active > self._inactive:
                file.handle.close()
                del self._open[key]

    def _read(self, key: str, file: _File, message: Message) -> Read:
        log = {
            "offset": message.end,
            "file": {"path": file.path, "device_id": str(file.device), "inode": str(file.inode)},
        }
        return Read(message, {"log": log}, key, {"offset": message.end, "source": file.path})

    def _scan(self) -> None:
        seen: set[str] = set()
        for path in self._matches():
            try:
                facts = Path(path).stat()
            except OSError:
                continue
            key = f"{self._entry.identity}::{facts.st_dev}-{facts.st_ino}"
            seen.add(key)
            if key in self._open:
                self._open[key].path = path
                continue
            offset = int(self._registry.get(key).get("offset", 0))
            if facts.st_size == offset or self._is_old(facts.st_mtime):
                continue
            chain = [parsers.build(name, options) for name, options in self._entry.parsers]
            try:
                self._open[key] = _File(path, offset, chain)
            except OSError:
                continue
        mine = {key for key in self._registry.sources() if key.startswith(f"{self._entry.identity}::")}
        self._registry.forget(mine - seen - self._open.keys())

    def _is_old(self, modified: float) -> bool:
        return bool(self._max_age) and time.time() - modified > self._max_age

    def _matches(self) -> Iterator[str]:
        options = self._entry.options
        links = options.get("prospector.scanner.symlinks", options.get("symlinks", False))
        named = "prospector.scanner.exclude_files"
        excluded: list[re.Pattern[str]] = options.get(named) or options.get("exclude_files") or []
        included: list[re.Pattern[str]] = options.get("prospector.scanner.include_files", [])
        for pattern in options["paths"]:
            for path in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - of absolute patterns
                skipped = any(p.search(path) for p in excluded)
                skipped = skipped or (bool(included) and not any(p.search(path) for p in included))
                file = Path(path)
                if not skipped and file.is_file() and (links or not file.is_symlink()):
                    yield path

    def _wanted(self, text: str) -> bool:
        included = self._entry.options.get("include_lines", [])
        if included and not any(pattern.search(text) for pattern in included):
            return False
        return not any(p.search(text) for p in self._entry.options.get("exclude_lines", []))

    def close(self) -> None:
        """Close all files."""
        for file in self._open.values():
            file.handle.close()
        self._open.clear()


class Journal:
    """The systemd journal, through journalctl as Filebeat does."""

    def __init__(self, entry: Input, registry: Registry) -> None:
        self._key = f"{entry.identity}::journal"
        self._chain = [parsers.build(name, options) for name, options in entry.parsers]
        self._command = _journalctl(entry.options, registry.get(self._key).get("cursor"))
        self._lines: queue.Queue[bytes] = queue.Queue(maxsize=2000)
        self._process: subprocess.Popen[bytes] | None = None

    def read(self) -> Iterator[Read]:
        """What is new."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        while True:
            try:
                entry = json.loads(self._lines.get_nowait())
            except queue.Empty:
                break
            cursor = entry["__CURSOR"]
            self._command = [*_without_position(self._command), f"--after-cursor={cursor}"]
            message = Message(_text(entry.get("MESSAGE")), 0)
            for passed in _through(self._chain, message):
                yield Read(passed, _journal_fields(entry), self._key, {"cursor": cursor})

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=self._pump, args=(self._process,), daemon=True).start()

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)

    def close(self) -> None:
        """End journalctl."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


Source = Files | Journal


def build(entry: Input, registry: Registry) -> Source:
    """The source of an input."""
    return Journal(entry, registry) if entry.kind == "journald" else Files(entry, registry)


def _through(chain: list[Parser], message: Message) -> Iterator[Message]:
    if not chain:
        yield message
        return
    for passed in chain[0].feed(message):
        yield from _through(chain[1:], passed)


def _flushed(chain: list[Parser]) -> Iterator[Message]:
    for index, parser in enumerate(chain):
        for message in parser.flush():
            yield from _through(chain[index + 1 :], message)


def _journalctl(options: dict[str, Any], cursor: str | None) -> list[str]:
    command = ["journalctl", "--quiet", "--output=json", "--follow", "--all"]
    command += [f"--unit={unit}" for unit in options.get("units", [])]
    command += [f"--identifier={name}" for name in options.get("syslog_identifiers", [])]
    command += [f"_TRANSPORT={name}" for name in options.get("transports", [])]
    command += options.get("include_matches.match", [])
    if cursor:
        return [*command, f"--after-cursor={cursor}"]
    if options.get("seek") == "since":
        return [*command, f"--since={options['since']}"]
    return [*command, "--lines=0" if options.get("seek") == "tail" else "--no-tail"]


def _without_position(command: list[str]) -> list[str]:
    position = ("--after-cursor=", "--since=", "--lines=", "--no-tail")
    return [word for word in command if not word.startswith(position)]


def _text(value: Json) -> str:
    if isinstance(value, list):  # journalctl writes what is not UTF-8 as a list of bytes
        return bytes(value).decode("utf-8", "replace")
    return "" if value is None else str(value)


def _journal_fields(entry: dict[str, Any]) -> Event:
    found: Event = {"journald": {}, "log": {"syslog": {}}}
    when = int(entry["__REALTIME_TIMESTAMP"]) / 1_000_000
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))
    found["@timestamp"] = f"{moment}.{int(when * 1000) % 1000:03d}Z"
    if "PRIORITY" in entry:
        found["log"]["syslog"]["priority"] = int(_text(entry["PRIORITY"]))
    if "SYSLOG_IDENTIFIER" in entry:
        found["log"]["syslog"]["appname"] = _text(entry["SYSLOG_IDENTIFIER"])
    if "_SYSTEMD_UNIT" in entry:
        found["systemd"] = {"unit": _text(entry["_SYSTEMD_UNIT"])}
    if "_PID" in entry:
        found["process"] = {"pid": int(_text(entry["_PID"]))}
    if "_TRANSPORT" in entry:
        found["systemd"] = {**found.get("systemd", {}), "transport": _text(entry["_TRANSPORT"])}
    if "_HOSTNAME" in entry:
        found["host"] = {"hostname": _text(entry["_HOSTNAME"])}
    return found
