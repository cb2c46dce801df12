#!/usr/bin/python3
"""Back up what this host holds of the appliance into a restic repository.

Takes, as the configuration says: MongoDB as of one snapshot time, in the directory layout
of mongodump (so that mongorestore reads it too); RabbitMQ's definitions; and directories
of the host. Either all of it becomes one snapshot, or the run fails and says why.

Exit status: 0 done, 1 failed, 75 another run is under way. Facts go to syslog as JSON,
errors to stderr too, and the outcome to node exporter's textfile directory.

Runs on Debian's Python and python3-pymongo (3.11 on Debian 12, 4.x on Debian 13).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import logging
import logging.handlers
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias
from urllib.parse import quote
from uuid import UUID

from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

if TYPE_CHECKING:
    from bson.timestamp import Timestamp
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    Base: TypeAlias = Database[dict[str, Any]]

NAME = "sdlc-backup"
TAG = "sdlc-agents"
ALREADY_RUNNING = 75  # EX_TEMPFAIL of sysexits.h
SNAPSHOT_TOO_OLD = (239, 246)
RAW = CodecOptions(document_class=RawBSONDocument)
# Ours to write, but not to restore: the server makes them, Ansible makes the users.
SERVERS_OWN_DATABASES = frozenset({"admin", "config", "local"})

log = logging.getLogger(NAME)


class BackupError(Exception):
    """Why a run failed, and what to do."""


@dataclass(frozen=True)
class MongoSettings:
    """Which replica set is dumped, and as whom."""

    members: tuple[str, ...]
    replica_set: str
    user: str
    password_file: Path
    tls_ca_file: Path


@dataclass(frozen=True)
class Settings:
    """What a run does; the role writes it."""

    repository: str
    password_file: Path
    staging: Path
    lock_file: Path
    metrics_file: Path
    paths: tuple[str, ...]
    keep: dict[str, int]
    mongodb: MongoSettings | None
    rabbitmq: bool


@dataclass(frozen=True)
class Stored:
    """What restic says of the snapshot it made; sizes in bytes."""

    snapshot: str
    size: int
    added: int


def load_settings(path: Path) -> Settings:
    """Read the configuration file.

    Raises:
        BackupError: It is missing, or lacks an entry.
    """
    try:
        raw = json.loads(path.read_text())
        mongodb = raw["mongodb"]
        return Settings(
            repository=raw["repository"],
            password_file=Path(raw["password_file"]),
            staging=Path(raw["staging"]),
            lock_file=Path(raw["lock_file"]),
            metrics_file=Path(raw["metrics_file"]),
            paths=tuple(raw["paths"]),
            keep=dict(raw["keep"]),
            mongodb=mongodb
            and MongoSettings(
                members=tuple(mongodb["members"]),
                replica_set=mongodb["replica_set"],
                user=mongodb["user"],
                password_file=Path(mongodb["password_file"]),
                tls_ca_file=Path(mongodb["tls_ca_file"]),
            ),
            rabbitmq=bool(raw["rabbitmq"]),
        )
    except (OSError, ValueError) as error:
        raise BackupError(f"Cannot read {path}: {error}") from error
    except KeyError as error:
        raise BackupError(f"{path} lacks {error}; run the backup playbook again") from error


def run(*command: str) -> str:
    """Run a program and return what it says.

    Raises:
        BackupError: It failed; the message ends with its last words.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise BackupError(f"{command[0]} ended with {done.returncode}: {' '.join(words[-3:])}")
    return done.stdout


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock; yields False where another run holds it."""
    with path.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def file_name(collection: str) -> str:
    """A collection's name as mongodump escapes it in file names."""
    return quote(collection, safe="$&+:=@!'()*,;")


def connect(settings: MongoSettings) -> MongoClient[dict[str, Any]]:
    """A client of the replica set, as the backup's user."""
    return MongoClient(
        list(settings.members),
        replicaSet=settings.replica_set,
        username=settings.user,
        password=settings.password_file.read_text().strip(),
        authSource="admin",
        authMechanism="SCRAM-SHA-256",
        tls=True,
        tlsCAFile=str(settings.tls_ca_file),
        serverSelectionTimeoutMS=30_000,
        appname=NAME,
    )


def documents(database: Base, collection: str, moment: Timestamp, session: ClientSession) -> Iterator[bytes]:
    """Every document of a collection as it was at that moment, as BSON.

    By commands instead of a driver's cursor, because Debian 12's driver knows no snapshot
    sessions; the server reads snapshots outside of transactions since MongoDB 5.0.
    """
    command: dict[str, Any] = {
        "find": collection,
        "batchSize": 1000,
        "readConcern": {"level": "snapshot", "atClusterTime": moment},
    }
    batch = "firstBatch"
    while True:
        cursor = database.command(command, session=session, codec_options=RAW)["cursor"]
        for document in cursor[batch]:
            yield document.raw
        if cursor["id"] == 0:
            return
        command = {"getMore": cursor["id"], "collection": collection}
        batch = "nextBatch"


def dump_collection(
    database: Base, info: dict[str, Any], moment: Timestamp, session: ClientSession, target: Path
) -> dict[str, Any]:
    """Write one collection's metadata and documents; returns counts and a checksum."""
    name, kind = info["name"], info["type"]
    if kind == "timeseries":
        raise BackupError(f"{database.name}.{name} is a time series, which this backup does not know")
    metadata: dict[str, Any] = {"options": info["options"], "indexes": []}
    if kind == "collection":
        metadata["indexes"] = list(database[name].list_indexes())
        identity = info["info"]["uuid"]
        metadata["uuid"] = identity.hex if isinstance(identity, UUID) else bytes(identity).hex()
    metadata |= {"collectionName": name, "type": kind}
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{file_name(name)}.metadata.json").write_text(
        json_util.dumps(metadata, json_options=json_util.CANONICAL_JSON_OPTIONS)
    )
    count = size = 0
    checksum = hashlib.sha256()
    if kind == "collection":
        with (target / f"{file_name(name)}.bson").open("wb") as output:
            for document in documents(database, name, moment, session):
                output.write(document)
                checksum.update(document)
                count += 1
                size += len(document)
    return {"documents": count, "bytes": size, "sha256": checksum.hexdigest()}


def dump_mongodb(settings: MongoSettings, target: Path) -> dict[str, Any]:
    """Dump all databases but the server's own, at one snapshot time.

    Returns:
        The manifest: snapshot time, server version, and each collection's facts.

    Raises:
        BackupError: The set cannot be read, or the dump took longer than it keeps history.
    """
    client = connect(settings)
    try:
        moment = client.admin.command("ping")["operationTime"]
        databases: dict[str, dict[str, Any]] = {}
        with client.start_session(causal_consistency=False) as session:
            for name in sorted(set(client.list_database_names()) - SERVERS_OWN_DATABASES):
                database = client[name]
                databases[name] = {
                    info["name"]: dump_collection(database, info, moment, session, target / name)
                    for info in database.list_collections()
                    if not info["name"].startswith("system.")
                }
        return {
            "snapshot_time": moment.as_datetime().isoformat(),
            "mongodb_version": client.server_info()["version"],
            "databases": databases,
        }
    except OperationFailure as error:
        if error.code in SNAPSHOT_TOO_OLD:
            raise BackupError(
                "The dump took longer than MongoDB keeps history; raise mongodb_snapshot_history_seconds"
            ) from error
        raise BackupError(f"MongoDB refused: {error}") from error
    except PyMongoError as error:
        raise BackupError(f"MongoDB: {error}") from error
    finally:
        client.close()


def dump_rabbitmq(target: Path) -> None:
    """Write the definitions of the broker on this host."""
    definitions = run("rabbitmqctl", "-q", "export_definitions", "-")
    json.loads(definitions)
    target.mkdir(parents=True)
    (target / "definitions.json").write_text(definitions)


def store(settings: Settings) -> Stored:
    """Make one restic snapshot of staging and the host's directories; forget the old ones."""
    restic = (
        "restic", "--no-cache", "--repo", settings.repository,
        "--password-file", str(settings.password_file),
    )  # fmt: skip
    # Our own lock is held, so a lock in the repository is what a killed run left.
    run(*restic, "unlock")
    host = socket.gethostname()
    output = run(
        *restic, "backup", "--json", "--host", host, "--tag", TAG,
        str(settings.staging), *settings.paths,
    )  # fmt: skip
    summary = json.loads(output.strip().splitlines()[-1])
    keep = [word for period, count in settings.keep.items() for word in (f"--keep-{period}", str(count))]
    run(*restic, "forget", "--prune", "--host", host, "--tag", TAG, "--group-by", "host,tags", *keep)
    return Stored(
        snapshot=summary["snapshot_id"],
        size=summary["total_bytes_processed"],
        added=summary["data_added"],
    )


def back_up(settings: Settings) -> Stored:
    """Gather everything in the staging directory and store it; nothing stays behind."""
    shutil.rmtree(settings.staging, ignore_errors=True)
    settings.staging.mkdir(mode=0o700, parents=True)
    manifest: dict[str, Any] = {"created_at": datetime.now(UTC).isoformat()}
    try:
        if settings.mongodb:
            manifest["mongodb"] = dump_mongodb(settings.mongodb, settings.staging / "mongodb")
        if settings.rabbitmq:
            dump_rabbitmq(settings.staging / "rabbitmq")
        (settings.staging / "manifest.json").write_text(json.dumps(manifest, indent=2))
        return store(settings)
    finally:
        shutil.rmtree(settings.staging, ignore_errors=True)


METRICS = {
    "last_run_timestamp_seconds": "When the backup last ended, well or not.",
    "last_success_timestamp_seconds": "When the backup last ended well; 0 is never.",
    "last_exit_status": "How the last backup ended; 0 is well.",
    "duration_seconds": "How long the last backup took.",
    "size_bytes": "How much the last good backup holds.",
    "added_bytes": "How much the last good backup added to the repository.",
}


def read_metrics(path: Path) -> dict[str, float]:
    """The values of the run before, where there was one."""
    values = dict.fromkeys(METRICS, 0.0)
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            key = name.removeprefix("sdlc_backup_")
            if key in values:
                values[key] = float(value)
    return values


def write_metrics(path: Path, values: dict[str, float]) -> None:
    """Replace the textfile in one step, as node exporter may read at any time."""
    lines = []
    for key, text in METRICS.items():
        name = f"sdlc_backup_{key}"
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {values[key]}"]
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(lines) + "\n")
    partial.chmod(0o644)
    partial.replace(path)


class JsonFormatter(logging.Formatter):
    """One JSON object a record, with the facts given as `extra={"facts": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        return json.dumps(
            {
                "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
                "level": record.levelname.lower(),
                "service": NAME,
                "event": record.getMessage(),
                **getattr(record, "facts", {}),
            }
        )


def configure_logging(errors: TextIO) -> None:
    """Everything to syslog; errors to stderr too, where cron mails them."""
    log.setLevel(logging.INFO)
    stderr = logging.StreamHandler(errors)
    stderr.setLevel(logging.ERROR)
    handlers: list[logging.Handler] = [stderr]
    if Path("/dev/log").exists():
        syslog = logging.handlers.SysLogHandler("/dev/log")
        syslog.ident = f"{NAME}: "
        handlers.append(syslog)
    for handler in handlers:
        handler.setFormatter(JsonFormatter())
        log.addHandler(handler)


def recorded_run(settings: Settings) -> int:
    """One run under the lock, its outcome in log and metrics."""
    with locked(settings.lock_file) as free:
        if not free:
            log.error("another run is under way", extra={"facts": {"lock": str(settings.lock_file)}})
            return ALREADY_RUNNING
        started = time.time()
        values = read_metrics(settings.metrics_file)
        status = 1
        try:
            stored = back_up(settings)
        except (BackupError, OSError, ValueError, KeyError) as error:
            log.error("backup failed", extra={"facts": {"error": str(error)}})
        else:
            status = 0
            values |= {
                "last_success_timestamp_seconds": time.time(),
                "size_bytes": stored.size,
                "added_bytes": stored.added,
            }
            log.info("backup done", extra={"facts": vars(stored)})
        finally:
            ended = time.time()
            values |= {
                "last_run_timestamp_seconds": ended,
                "last_exit_status": status,
                "duration_seconds": ended - started,
            }
            write_metrics(settings.metrics_file, values)
        return status


def main() -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(description="Back up what this host holds of the appliance.")
    parser.add_argument("--config", type=Path, default=Path("/etc/sdlc-agents/backup/config.json"))
    arguments = parser.parse_args()
    os.umask(0o077)
    configure_logging(sys.stderr)
    try:
        return recorded_run(load_settings(arguments.config))
    except (BackupError, OSError) as error:
        log.error("backup failed", extra={"facts": {"error": str(error)}})
        return 1


if __name__ == "__main__":
    sys.exit(main())
