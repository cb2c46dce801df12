"""The stand-in for Filebeat refuses what Filebeat would not run with, and ships each line once."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.filebeat import cli, event, parsers, processors, settings
from lab.filebeat.options import ConfigError
from lab.filebeat.parsers import Message
from lab.filebeat.settings import Paths
from lab.filebeat.shipper import Shipper

GOOD = """
filebeat.inputs:
  - type: filestream
    id: one
    paths: [{logs}/*.log]
    prospector.scanner.check_interval: 0s
output.elasticsearch:
  hosts: ["{store}"]
  index: sdlc-agent-%{{+yyyy.MM.dd}}
setup.ilm.enabled: false
setup.template.enabled: false
"""


@pytest.fixture
def folders(tmp_path: Path) -> Paths:
    (tmp_path / "logs").mkdir()
    return Paths(tmp_path, tmp_path, tmp_path / "data", tmp_path / "logs")


def written(folders: Paths, text: str, store: str = "https://logs.example") -> Path:
    file = folders.config / "filebeat.yml"
    file.write_text(text.format(logs=folders.logs, store=store))
    file.chmod(0o600)
    return file


def test_a_good_configuration_is_taken(folders: Paths) -> None:
    loaded = settings.load(written(folders, GOOD), folders)
    assert [entry.identity for entry in loaded.inputs] == ["one"]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("    id: one\n", "", "need an id of their own"),
        ("filestream", "syslog", "every input has a type"),
        ("paths: [", "path: [", "path is not an option"),
        ("check_interval: 0s", "check_interval: soon", "must be a duration"),
        ("  hosts:", "  host:", "host is not an option"),
        ("setup.ilm.enabled: false", "", "lifecycle policy"),
        ("setup.template.enabled: false", "", "setup.template.pattern have to be set"),
        ("output.elasticsearch", "output.console", "not an option"),
        ("    id: one\n", "    id: one\n    enabled: false\n", "no modules or inputs enabled"),
        ("    id: one\n", "    id: ${{NOWHERE}}\n", "missing field accessing"),
        ("    id: one\n", "    id: one\n    processors: [add_cloud_metadata: ~]\n", "add_cloud_metadata is not one"),
        ("    id: one\n", "    id: one\n    parsers: [ndjson: {{keys_under_root: true}}]\n", "keys_under_root"),
        ("  index:", "  username: filebeat\n  index:", "username and password go together"),
        ("  index:", "  ssl.verification_mode: none\n  index:", "must be one of full"),
        ("filebeat.inputs:", "filebeat.input:", "filebeat.input is not an option"),
    ],
)
def test_a_configuration_that_would_not_work_is_refused(folders: Paths, before: str, after: str, reason: str) -> None:
    assert before in GOOD
    with pytest.raises(ConfigError, match=reason.replace("$", r"\$")):
        settings.load(written(folders, GOOD.replace(before, after)), folders)


def test_two_inputs_of_one_id_are_refused(folders: Paths) -> None:
    inputs = GOOD[GOOD.index("  - type") : GOOD.index("output")]
    with pytest.raises(ConfigError, match="duplicated: one"):
        settings.load(written(folders, GOOD.replace(inputs, inputs * 2)), folders)


def test_a_configuration_that_others_may_write_is_refused(folders: Paths) -> None:
    file = written(folders, GOOD)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="only be writable by the owner"):
        settings.load(file, folders)


def test_the_command_line_tells_why(folders: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(folders, GOOD.replace("paths:", "path:"))
    arguments = ["test", "config", "-c", str(file)]
    arguments += [f"--path.{name}={folders.home}" for name in ("home", "config", "data", "logs")]
    assert cli.main(arguments) == 1
    assert "path is not an option" in capsys.readouterr().err


def test_dockers_lines_are_unwrapped_and_put_together() -> None:
    chain = parsers.Container({"stream": "all"})
    when = "2026-01-02T03:04:05.678901234Z"
    first = json.dumps({"log": "half of ", "stream": "stdout", "time": when})
    second = json.dumps({"log": "a line\n", "stream": "stdout", "time": when})
    assert list(chain.feed(Message(first, 10))) == []
    (message,) = chain.feed(Message(second, 20))
    assert (message.text, message.end) == ("half of a line", 20)
    assert message.fields == {"stream": "stdout", "@timestamp": "2026-01-02T03:04:05.678Z"}


def test_decoded_json_does_not_overwrite_unless_told() -> None:
    text = json.dumps({"level": "info", "input": "mine", "@timestamp": "2026-01-02T03:04:05Z"})
    event_before = {"message": text, "input": "theirs", "@timestamp": "2020-01-01T00:00:00.000Z"}
    keep = processors.build("decode_json_fields", {"fields": ["message"], "target": ""})
    kept = keep(dict(event_before))
    assert kept is not None
    assert (kept["level"], kept["input"], kept["@timestamp"][:4]) == ("info", "theirs", "2020")
    options = {"fields": ["message"], "target": "", "overwrite_keys": True}
    taken = processors.build("decode_json_fields", options)(dict(event_before))
    assert taken is not None
    assert (taken["input"], taken["@timestamp"]) == ("mine", "2026-01-02T03:04:05.000Z")


def test_a_processor_obeys_its_condition() -> None:
    drop = processors.build("drop_event", {"when": {"equals": {"log": {"level": "debug"}}}})
    assert drop({"log": {"level": "debug"}}) is None
    assert drop({"log": {"level": "info"}}) is not None
    with pytest.raises(ConfigError, match="needs a condition"):
        processors.build("drop_event", {})


def test_the_index_follows_the_events_own_day() -> None:
    one = {"@timestamp": "2026-01-02T23:59:59.000Z", "fields": {"site": "north"}}
    assert event.formatted("sdlc-%{[fields.site]}-%{+yyyy.MM.dd}", one) == "sdlc-north-2026.01.02"
    with pytest.raises(KeyError):
        event.formatted("%{[nowhere]}", one)


class Store(http.server.BaseHTTPRequestHandler):
    """A store that can be told to be busy."""

    received: list[str]
    busy: int

    def do_GET(self) -> None:
        self._answer(200, {"version": {"number": "8.19.0"}})

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        documents = [json.loads(line) for line in body.splitlines()[1::2]]
        if type(self).busy:
            type(self).busy -= 1
            items = [{"create": {"status": 429, "error": {"type": "busy"}}} for _ in documents]
            self._answer(200, {"errors": True, "items": items})
            return
        type(self).received += [document["message"] for document in documents]
        self._answer(200, {"errors": False})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[tuple[str, type[Store]]]:
    handler = type("OneStore", (Store,), {"received": [], "busy": 0})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()
        thread.join()


def ship(folders: Paths, until: int, store: tuple[str, type[Store]]) -> list[str]:
    """Run a Filebeat until the store has *until* lines, and stop it."""
    address, handler = store
    text = GOOD.replace("  index", "  backoff.init: 10ms\n  index")
    shipper = Shipper(settings.load(written(folders, text, address), folders))
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    enough = threading.Event()
    for _ in range(200):
        if len(handler.received) >= until:
            break
        enough.wait(0.05)
    stop.set()
    thread.join(timeout=20)
    assert not thread.is_alive()
    return handler.received


def test_each_line_is_shipped_once_also_over_a_restart(folders: Paths, store: tuple[str, type[Store]]) -> None:
    log = folders.logs / "a.log"
    log.write_text("one\ntwo\nunfinished")
    assert ship(folders, 2, store) == ["one", "two"]
    with log.open("a") as file:
        file.write(" now\n")
    assert ship(folders, 3, store) == ["one", "two", "unfinished now"]


def test_a_busy_store_gets_the_lines_again(folders: Paths, store: tuple[str, type[Store]]) -> None:
    store[1].busy = 3
    (folders.logs / "a.log").write_text("patient\n")
    assert ship(folders, 1, store) == ["patient"]


def test_a_file_that_was_rotated_away_and_a_new_one_are_both_read(
    folders: Paths, store: tuple[str, type[Store]]
) -> None:
    log = folders.logs / "a.log"
    log.write_text("before\n")
    assert ship(folders, 1, store) == ["before"]
    log.rename(folders.logs / "b.log")
    log.write_text("after\n")
    assert sorted(ship(folders, 2, store)) == ["after", "before"]
