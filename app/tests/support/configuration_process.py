"""The configuration API as the process it is in production, on a database of its own."""

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pymongo

from sdlc_agents.kernel.mongo import Document
from support.backends import FIELD_ENCRYPTION_KEY, Backends
from support.processes import SOURCE, bare_environment, free_port

_READY_SECONDS = 60.0


@dataclass(frozen=True)
class ConfigurationProcess:
    """Where it listens and logs."""

    url: str
    log: Path


@contextmanager
def configuration_process(backends: Backends, log: Path, admin_key: str) -> Iterator[ConfigurationProcess]:
    """A migrated database and the API on it; both are gone when the block is left."""
    port, metrics_port = free_port(), free_port()
    database = f"test_{secrets.token_hex(6)}"
    options: dict[str, Any] = {"tlsCAFile": backends.mongo_tls_ca_file} if backends.mongo_tls_ca_file else {}
    environment = {
        **bare_environment(),
        "PYTHONPATH": str(SOURCE),
        "MONGO_URL": backends.mongo_url,
        "MONGO_DATABASE": database,
        "FIELD_ENCRYPTION_KEY": FIELD_ENCRYPTION_KEY,
        "CONFIGURATION_API_ADMIN_KEY": admin_key,
        "CONFIGURATION_API_PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        "LOG_LEVEL": "info",
    }
    if backends.mongo_tls_ca_file:
        environment["MONGO_TLS_CA_FILE"] = backends.mongo_tls_ca_file
    command = [sys.executable, "-m", "sdlc_agents.commands.cli"]
    try:
        subprocess.run([*command, "migrate"], env=environment, check=True, stdin=subprocess.DEVNULL)
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [*command, "configuration-api"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                _ready(f"http://127.0.0.1:{metrics_port}/ready", process, log)
                yield ConfigurationProcess(f"http://127.0.0.1:{port}", log)
            finally:
                process.terminate()
    finally:
        with pymongo.MongoClient[Document](backends.mongo_url, **options) as client:
            client.drop_database(database)


def _ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the service is not ready: {log.read_text()[-2000:]}")
