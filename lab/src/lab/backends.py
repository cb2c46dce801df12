"""The test services: a real MongoDB replica set and a real RabbitMQ for the app's own tests."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab import containers, downloads, engine, images, paths, snapshot
from lab.console import say, step
from lab.process import content_key, locked, write
from lab.services import tls

CONTAINER = "sdlc-lab-backends"
ADDRESS = "10.212.0.6"
NAME = "backends.lab"

PACKAGES = ("rabbitmq-server", "python3-pymongo", "libcurl4t64", "liblzma5")
_HOOKS = ('chroot "$1" useradd --system --home-dir /var/lib/mongodb --user-group mongodb',)


@dataclass(frozen=True)
class Backends:
    """How a test reaches the services."""

    mongo_url: str
    rabbitmq_url: str
    ca_file: Path

    def environment(self) -> dict[str, str]:
        """The variables that the app's settings read."""
        return {
            "MONGO_URL": self.mongo_url,
            "MONGO_TLS_CA_FILE": str(self.ca_file),
            "RABBITMQ_URL": self.rabbitmq_url,
            "RABBITMQ_TLS_CA_FILE": str(self.ca_file),
        }


def up() -> Backends:
    """Have both services running; those that run already are kept, with what they hold."""
    engine.ensure()
    programs = image()
    mongod = downloads.mongod()
    with locked("backends"):
        folder = _secrets()
        program = paths.PACKAGE / "inside" / "backends.py"
        certificate = (folder / "tls.crt").read_text()
        key = content_key(programs, program.read_text(), certificate)
        with step("MongoDB and RabbitMQ for tests"):
            containers.ensure(_container(programs, folder, program, mongod), key)
            probe = ["test", "-e", "/run/lab/ready"]
            containers.wait_for(CONTAINER, probe, "MongoDB and RabbitMQ answer", timeout=150)
    mongo = quote((folder / "mongodb_password").read_text().strip())
    rabbit = quote((folder / "rabbitmq_password").read_text().strip())
    options = "replicaSet=rs0&tls=true&authSource=admin"
    return Backends(
        mongo_url=f"mongodb://test:{mongo}@{ADDRESS}:27017/?{options}",
        rabbitmq_url=f"amqps://test:{rabbit}@{ADDRESS}:5671/sdlc",
        ca_file=tls.ensure_ca(paths.state()),
    )


def image() -> str:
    """The image that has what both services need; an engine must answer."""
    return images.programs("backends", PACKAGES, _HOOKS)


def down() -> None:
    """Remove the services and what they hold."""
    if engine.answers():
        containers.remove(CONTAINER)
        say("the test services are gone")


def _container(programs: str, folder: Path, program: Path, mongod: Path) -> containers.Container:
    code = snapshot.of([program])
    return containers.Container(
        name=CONTAINER,
        image=programs,
        hostname="backends",
        address=ADDRESS,
        aliases=[NAME],
        command=["python3", "/lab/backends.py"],
        environment={"LAB_ADDRESS": ADDRESS},
        binds=[
            f"{folder}:/lab/secrets:ro",
            f"{mongod.parent}:/lab/mongod:ro",
            f"{code / program.relative_to(paths.PACKAGE)}:/lab/backends.py:ro",
        ],
        options={"tmpfs": {"/run": ""}},
    )


def _secrets() -> Path:
    """The folder that the container reads: passwords, the key file, the certificate and its key."""
    names = [ADDRESS, NAME, "localhost", "127.0.0.1"]
    certificate, key = tls.issue(paths.state(), "backends", names, client=True)
    folder = paths.state("backends", "keyfile").parent
    for name in ("mongodb_password", "rabbitmq_password", "keyfile"):
        if not (folder / name).is_file():
            write(folder / name, secrets.token_hex(24), mode=0o600)
    write(folder / "tls.crt", certificate.read_text())
    write(folder / "tls.key", key.read_text(), mode=0o600)
    write(folder / "ca.crt", tls.ensure_ca(paths.state()).read_text())
    return folder
