"""The backup: the job that cron runs, run now, and what it left read back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import bson
import pytest
from wiring import port, text

DATABASE, PKI = text("app_mongo_database"), text("pki_directory")
RESTIC = "restic --no-cache -r /var/backups/sdlc-agents --password-file /etc/sdlc-agents/backup/restic_password"


def metrics(host: Any) -> dict[str, float]:
    """The job's metrics as node exporter serves them."""
    served = host.check_output(f"curl -fsS http://127.0.0.1:{port('exporters_node_port')}/metrics")
    return {name: float(value) for name, value in re.findall(r"^sdlc_backup_(\w+) (\S+)$", served, re.MULTILINE)}


@pytest.fixture(scope="module")
def scheduled(host: Any) -> tuple[str, str]:
    """When cron runs the job, and the command it runs."""
    line = host.check_output("grep -v -e '^#' -e '^PATH=' /etc/cron.d/sdlc-backup")
    when, user, command = line.split()[:5], line.split()[5], line.split()[6]
    assert user == "root"
    return " ".join(when), command


@pytest.fixture(scope="module")
def snapshot(host: Any, scheduled: tuple[str, str]) -> dict[str, Any]:
    """The snapshot that a run of cron's command leaves."""
    started = time.time()
    done = host.run(scheduled[1])
    assert done.rc == 0, done.stderr
    newest: dict[str, Any] = json.loads(host.check_output(f"{RESTIC} snapshots --json latest"))[-1]
    assert metrics(host)["last_success_timestamp_seconds"] >= started
    return newest


@pytest.fixture(scope="module")
def restored(host: Any, snapshot: dict[str, Any]) -> Iterator[str]:
    """A directory on the host that holds what was backed up."""
    target = host.check_output("mktemp -d")
    host.check_output(f"{RESTIC} restore {snapshot['id']} --target {target}")
    yield target
    host.check_output(f"rm -r {target}")


def test_cron_runs_it_at_two_every_night(host: Any, scheduled: tuple[str, str]) -> None:
    assert scheduled[0] == "0 2 * * *"
    assert host.service("cron").is_running


def test_every_document_of_the_dump_reads_back(host: Any, restored: str) -> None:
    staging = f"{restored}/var/lib/sdlc-backup/staging"
    manifest = json.loads(host.file(f"{staging}/manifest.json").content_string)
    collections = manifest["mongodb"]["databases"][DATABASE]
    assert {"projects", "webhook_events", "developments"} <= set(collections)
    for name, facts in collections.items():
        documents = bson.decode_all(host.file(f"{staging}/mongodb/{DATABASE}/{name}.bson").content)
        assert len(documents) == facts["documents"], name
        metadata = json.loads(host.file(f"{staging}/mongodb/{DATABASE}/{name}.metadata.json").content_string)
        assert metadata["collectionName"] == name
        assert "_id_" in [index["name"] for index in metadata["indexes"]]


def test_the_brokers_definitions_read_back(broker: Any, scheduled: tuple[str, str]) -> None:
    assert broker.run(scheduled[1]).rc == 0
    file = "/var/lib/sdlc-backup/staging/rabbitmq/definitions.json"
    definitions = json.loads(broker.check_output(f"{RESTIC} dump latest {file}"))
    assert {queue["name"] for queue in definitions["queues"]} == {text("broker_queue"), text("broker_error_queue")}


def test_the_appliances_settings_read_back(host: Any, restored: str) -> None:
    for folder in ("/etc/sdlc-agents", PKI):
        host.check_output(f"diff -r {folder} {restored}{folder}")


def test_nothing_stays_beside_the_repository(host: Any, snapshot: dict[str, Any]) -> None:
    elsewhere = [] if PKI.startswith("/etc/sdlc-agents/") else [PKI]
    assert snapshot["paths"] == sorted(["/etc/sdlc-agents", *elsewhere, "/var/lib/sdlc-backup/staging"])
    assert not host.file("/var/lib/sdlc-backup/staging").exists
    assert host.file("/var/backups/sdlc-agents").mode == 0o700


@pytest.mark.usefixtures("snapshot")
def test_its_metrics_say_how_it_went(host: Any) -> None:
    shown = metrics(host)
    assert shown["last_exit_status"] == 0
    stored = json.loads(host.check_output(f"{RESTIC} stats --json --mode restore-size latest"))
    assert shown["size_bytes"] == stored["total_size"]
    assert 0 < shown["duration_seconds"] < 120


def test_a_second_run_at_the_same_time_gives_way(host: Any, scheduled: tuple[str, str]) -> None:
    done = host.run(f"flock /run/lock/sdlc-backup.lock {scheduled[1]}")
    assert done.rc == 75
    assert json.loads(done.stderr)["event"] == "another run is under way"


@pytest.mark.usefixtures("snapshot")
def test_a_run_that_fails_says_so_and_keeps_the_last_success(host: Any, scheduled: tuple[str, str]) -> None:
    before = metrics(host)["last_success_timestamp_seconds"]
    settings = json.loads(host.file("/etc/sdlc-agents/backup/config.json").content_string)
    settings["mongodb"]["user"] = "nobody"
    host.check_output("install -m 0600 /dev/null /run/sdlc-backup-test.json")
    host.check_output("printf %s > /run/sdlc-backup-test.json", json.dumps(settings))
    try:
        done = host.run(f"{scheduled[1]} --config /run/sdlc-backup-test.json")
        assert done.rc == 1
        assert "MongoDB refused" in json.loads(done.stderr)["error"]
        after = metrics(host)
        assert after["last_exit_status"] == 1
        assert after["last_success_timestamp_seconds"] == before
    finally:
        host.run("rm /run/sdlc-backup-test.json")
        assert host.run(scheduled[1]).rc == 0


def test_its_passwords_are_for_root_alone(host: Any) -> None:
    for name in ("restic_password", "mongodb_password", "config.json"):
        secret = host.file(f"/etc/sdlc-agents/backup/{name}")
        assert (secret.user, secret.mode) == ("root", 0o600), name
