"""The backup's program: its dump against a real MongoDB, and what it does around it."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import bson
import pytest
from bson import json_util
from pymongo import MongoClient

from lab import backends

PROGRAM = Path(__file__).parents[1] / "files" / "sdlc_backup.py"
DATABASE = "backup_test"


@pytest.fixture(scope="session")
def program() -> ModuleType:
    """The program as a module."""
    found = importlib.util.spec_from_file_location("sdlc_backup", PROGRAM)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def settings(program: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """How the program reaches the tests' MongoDB."""
    services = backends.up()
    url = urlsplit(services.mongo_url)
    password = tmp_path_factory.mktemp("mongodb") / "password"
    password.write_text(unquote(url.password or ""))
    return program.MongoSettings(
        members=(f"{url.hostname}:{url.port}",),
        replica_set="rs0",
        user=url.username,
        password_file=password,
        tls_ca_file=services.ca_file,
    )


@pytest.fixture
def database(program: ModuleType, settings: Any) -> Iterator[Any]:
    """An empty database that is gone afterwards."""
    client: MongoClient[dict[str, Any]] = program.connect(settings)
    client.drop_database(DATABASE)
    yield client[DATABASE]
    client.drop_database(DATABASE)
    client.close()


def test_a_dump_holds_every_document_byte_for_byte(
    program: ModuleType, settings: Any, database: Any, tmp_path: Path
) -> None:
    wanted = [{"_id": number, "text": "ü" * number, "nested": {"list": [number, None]}} for number in range(2500)]
    database["projects"].insert_many(wanted)
    manifest = program.dump_mongodb(settings, tmp_path)
    dumped = (tmp_path / DATABASE / "projects.bson").read_bytes()
    assert bson.decode_all(dumped) == wanted
    facts = manifest["databases"][DATABASE]["projects"]
    assert (facts["documents"], facts["bytes"]) == (2500, len(dumped))


def test_a_dump_holds_indexes_and_options_as_mongorestore_reads_them(
    program: ModuleType, settings: Any, database: Any, tmp_path: Path
) -> None:
    database.create_collection("projects", validator={"name": {"$type": "string"}})
    database["projects"].create_index("jira_project_key", unique=True)
    program.dump_mongodb(settings, tmp_path)
    written = (tmp_path / DATABASE / "projects.metadata.json").read_text()
    assert '"v": {"$numberInt": "2"}' in written
    metadata = json_util.loads(written)
    assert (metadata["collectionName"], metadata["type"]) == ("projects", "collection")
    assert metadata["options"]["validator"] == {"name": {"$type": "string"}}
    assert [(index["name"], index.get("unique", False)) for index in metadata["indexes"]] == [
        ("_id_", False),
        ("jira_project_key_1", True),
    ]
    assert len(bytes.fromhex(metadata["uuid"])) == 16


def test_a_view_is_dumped_as_what_it_is_not_as_what_it_shows(
    program: ModuleType, settings: Any, database: Any, tmp_path: Path
) -> None:
    database["projects"].insert_one({"_id": 1})
    database.create_collection("shown", viewOn="projects", pipeline=[])
    program.dump_mongodb(settings, tmp_path)
    assert json.loads((tmp_path / DATABASE / "shown.metadata.json").read_text())["type"] == "view"
    assert not (tmp_path / DATABASE / "shown.bson").exists()


def test_all_collections_are_of_one_moment(program: ModuleType, settings: Any, database: Any, tmp_path: Path) -> None:
    # `a` is dumped first, so that without a common moment `b` would be ahead of it.
    database["a"].insert_one({"_id": 0})
    database["b"].insert_one({"_id": 0})
    stop, going = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            database["a"].insert_one({"_id": number, "padding": "x" * 1000})
            database["b"].insert_one({"_id": number, "padding": "x" * 1000})
            if number == 50:
                going.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert going.wait(30)
        program.dump_mongodb(settings, tmp_path)
    finally:
        stop.set()
        writer.join()
    first, second = (bson.decode_all((tmp_path / DATABASE / f"{name}.bson").read_bytes()) for name in ("a", "b"))
    assert len(first) - len(second) in (0, 1)
    assert len(second) >= 50


def test_a_refused_login_is_said_plainly(program: ModuleType, settings: Any, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    stranger = program.MongoSettings(**{**vars(settings), "password_file": wrong})
    with pytest.raises(program.BackupError, match="MongoDB refused: Authentication failed"):
        program.dump_mongodb(stranger, tmp_path)


@pytest.mark.parametrize(
    ("collection", "file"), [("projects", "projects"), ("a/b", "a%2Fb"), ("50%", "50%25"), ("a.b-c_d", "a.b-c_d")]
)
def test_a_collection_becomes_a_file_name_as_with_mongodump(program: ModuleType, collection: str, file: str) -> None:
    assert program.file_name(collection) == file


def test_only_one_run_holds_the_lock(program: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with program.locked(lock) as first, program.locked(lock) as second:
        assert (first, second) == (True, False)
    with program.locked(lock) as third:
        assert third


def test_metrics_keep_the_last_success_of_earlier_runs(program: ModuleType, tmp_path: Path) -> None:
    textfile = tmp_path / "sdlc_backup.prom"
    values = dict.fromkeys(program.METRICS, 0.0) | {"last_success_timestamp_seconds": 1795442400.5}
    program.write_metrics(textfile, values)
    assert program.read_metrics(textfile) == values
    assert program.read_metrics(tmp_path / "none yet") == dict.fromkeys(program.METRICS, 0.0)
    assert textfile.stat().st_mode & 0o777 == 0o644


def test_a_missing_setting_is_named(program: ModuleType, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"mongodb": None}))
    with pytest.raises(program.BackupError, match="lacks 'repository'"):
        program.load_settings(config)


def test_a_program_that_fails_is_quoted(program: ModuleType) -> None:
    with pytest.raises(program.BackupError, match="sh ended with 3: no space left"):
        program.run("sh", "-c", "echo no space left >&2; exit 3")
