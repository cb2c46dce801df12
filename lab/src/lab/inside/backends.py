"""PID 1 of the test services' container: a MongoDB replica set of one member, and RabbitMQ.

Both listen with TLS only and know one user, `test`. The container's environment names the address
(LAB_ADDRESS); /lab/secrets holds passwords and keys, /lab/mongod the database server. When one of
the two ends, the container ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pymongo
import pymongo.errors

SECRETS = Path("/lab/secrets")
RUN = Path("/run/lab")
CA = SECRETS / "ca.crt"

RABBITMQ_CONFIGURATION = """
listeners.tcp = none
listeners.ssl.default = 5671
ssl_options.cacertfile = /run/lab/ca.crt
ssl_options.certfile = /run/lab/rabbitmq.crt
ssl_options.keyfile = /run/lab/rabbitmq.key
ssl_options.verify = verify_none
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
load_definitions = /run/lab/definitions.json
disk_free_limit.absolute = 50MB
log.console = true
log.file = false
"""


def main() -> int:
    """Start both services, make the replica set and the users, and stay until one of them ends."""
    RUN.mkdir(mode=0o755, exist_ok=True)
    (RUN / "ready").unlink(missing_ok=True)
    started = [start_mongod(), start_rabbitmq()]

    def end(_signal: int, _frame: FrameType | None) -> None:
        for process in started:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    set_up_mongod(started[0])
    wait_for(listens, started[1], "RabbitMQ")
    (RUN / "ready").touch()
    services = {process.pid for process in started}
    while os.wait()[0] not in services:  # PID 1 also buries what others left behind
        pass
    for process in started:
        process.terminate()
    for process in started:
        process.wait()
    return 1


def start_mongod() -> subprocess.Popen[bytes]:
    """Start mongod with authorization, a key file and TLS."""
    data = Path("/var/lib/mongodb")
    data.mkdir(exist_ok=True)
    shutil.chown(data, "mongodb", "mongodb")
    key_and_certificate = (SECRETS / "tls.key").read_bytes() + (SECRETS / "tls.crt").read_bytes()
    private("mongod.pem", key_and_certificate, "mongodb")
    private("mongod.keyfile", (SECRETS / "keyfile").read_bytes().strip(), "mongodb")
    private("mongod-ca.crt", CA.read_bytes(), "mongodb")
    return subprocess.Popen(
        [
            *("prlimit", "--nofile=20000", "setpriv", "--reuid=mongodb", "--regid=mongodb", "--init-groups"),
            "/lab/mongod/mongod",
            *("--dbpath=/var/lib/mongodb", "--bind_ip_all", "--replSet=rs0", "--keyFile=/run/lab/mongod.keyfile"),
            *("--tlsMode=requireTLS", "--tlsCertificateKeyFile=/run/lab/mongod.pem"),
            *("--tlsCAFile=/run/lab/mongod-ca.crt", "--tlsAllowConnectionsWithoutCertificates"),
            *("--wiredTigerCacheSizeGB=0.25", "--oplogSize=64", "--quiet"),
        ]
    )


def set_up_mongod(process: subprocess.Popen[bytes]) -> None:
    """Make the replica set and the user, through mongod's localhost exception."""
    address, password = os.environ["LAB_ADDRESS"], (SECRETS / "mongodb_password").read_text().strip()
    client = pymongo.MongoClient[dict[str, object]](
        "mongodb://127.0.0.1:27017/?directConnection=true&tls=true",
        tlsCAFile=str(CA),
        serverSelectionTimeoutMS=500,
    )
    wait_for(lambda: answers(client), process, "mongod")
    try:
        member = {"_id": 0, "host": f"{address}:27017"}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
    except pymongo.errors.OperationFailure as error:
        if error.code not in {13, 23}:  # Unauthorized: there is a user already; AlreadyInitialized
            raise
    wait_for(lambda: bool(client.admin.command("hello").get("isWritablePrimary")), process, "mongod")
    try:
        client.admin.command("createUser", "test", pwd=password, roles=["root"])
    except pymongo.errors.OperationFailure as error:
        if error.code not in {13, 51003}:  # as above; the user exists
            raise


def answers(client: pymongo.MongoClient[dict[str, object]]) -> bool:
    """Whether a mongod answers."""
    try:
        client.admin.command("ping")
    except pymongo.errors.ConnectionFailure:
        return False
    return True


def start_rabbitmq() -> subprocess.Popen[bytes]:
    """Start RabbitMQ with TLS only, the virtual host `sdlc` and one user who may do all in it."""
    for name in ("tls.crt", "tls.key"):
        private(name.replace("tls", "rabbitmq"), (SECRETS / name).read_bytes(), "rabbitmq")
    private("ca.crt", CA.read_bytes(), "rabbitmq")
    password = (SECRETS / "rabbitmq_password").read_text().strip()
    private("definitions.json", json.dumps(definitions(password)).encode(), "rabbitmq")
    configuration = Path("/etc/rabbitmq/rabbitmq.conf")
    configuration.write_text(RABBITMQ_CONFIGURATION.lstrip())
    return subprocess.Popen(
        ["/usr/sbin/rabbitmq-server"],
        # Two schedulers that sleep when idle: the machine is shared.
        env={**os.environ, "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none"},
    )


def definitions(password: str) -> dict[str, object]:
    """RabbitMQ's definitions: see https://www.rabbitmq.com/docs/definitions."""
    salt = secrets.token_bytes(4)
    digest = salt + hashlib.sha256(salt + password.encode()).digest()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "vhosts": [{"name": "sdlc"}],
        "users": [
            {
                "name": "test",
                "password_hash": base64.b64encode(digest).decode(),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
        ],
        "permissions": [{"user": "test", "vhost": "sdlc", **everything}],
    }


def listens() -> bool:
    """Whether RabbitMQ's listener is open, which it is when all else is in place."""
    try:
        ssl.get_server_certificate(("127.0.0.1", 5671), ca_certs=str(CA), timeout=5)
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
    """Poll *condition*; exit when *process* ended or two minutes are over."""
    deadline = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            raise SystemExit(f"{name} ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} did not get ready")
        time.sleep(0.1)


def private(name: str, content: bytes, owner: str) -> None:
    """Write a file that only *owner* can read."""
    path = RUN / name
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
    shutil.chown(path, owner, owner)


if __name__ == "__main__":
    sys.exit(main())
