"""The one container in which all outside services run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from docker.types import LogConfig

from lab import containers, engine, images, paths, snapshot
from lab.console import step
from lab.process import content_key, locked
from lab.services import SERVICES_ADDRESS, packages, secrets, tls
from lab.services.gitea import build

CONTAINER = "sdlc-lab-services"
NAMES = ("gitea.lab", "claude.lab", "jira.lab", "logs.lab", "alerts.lab")

_PACKAGES = ("nginx-light", "git")
# Modules beside the services' own that their programs import.
_IMPORTED = ("__init__", "console", "downloads", "machine", "paths", "process")
_HOOKS = ('chroot "$1" useradd --system --create-home --home-dir /var/lib/gitea --user-group git',)


def prefetch() -> None:
    """Fetch and build what takes long, with no engine needed: may run beside other work."""
    build.ensure()
    packages.ensure()


def up() -> None:
    """Have every service answer. What runs as it should is left alone, with what it holds."""
    engine.ensure()
    prefetch()
    image = images.programs("services", _PACKAGES, _HOOKS)
    with locked("services"):
        directory = paths.state("services")
        secrets.ensure(directory)
        certificate, _ = tls.issue(paths.state(), "services", [*NAMES, SERVICES_ADDRESS, "localhost", "127.0.0.1"])
        wanted = _container(image, directory, certificate)
        started = containers.ensure(wanted, content_key(repr(wanted), certificate.read_text()))
        with step("starting the outside services") if started else contextlib.nullcontext():
            probe = ["python3", "-m", "lab.services.probe", "/lab/secrets", "/lab/ca.crt"]
            containers.wait_for(CONTAINER, probe, "the outside services answer", timeout=240)


def down() -> None:
    """Remove the services and what they hold; credentials and caches stay."""
    containers.remove(CONTAINER)


def _container(image: str, directory: Path, certificate: Path) -> containers.Container:
    # Every path is the state's, or named in the cache after what it holds: another content is another container.
    return containers.Container(
        name=CONTAINER,
        image=image,
        hostname="services",
        address=SERVICES_ADDRESS,
        aliases=NAMES,
        command=["python3", "-m", "lab.services.supervisor"],
        environment={
            "PYTHONPATH": "/lab/code:/lab/python",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        },
        binds=[
            f"{snapshot.of(code())}:/lab/code/lab:ro",
            f"{packages.ensure()}:/lab/python:ro",
            f"{build.ensure().program.parent}:/lab/gitea:ro",
            f"{directory}:/lab/secrets",
            f"{certificate}:/lab/tls/services.crt:ro",
            f"{certificate.with_suffix('.key')}:/lab/tls/services.key:ro",
            f"{certificate.with_name('ca.crt')}:/lab/ca.crt:ro",
        ],
        options={
            "mem_limit": "2g",
            "log_config": LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m"}),
        },
    )


def code() -> list[Path]:
    """The files of the lab that the container runs."""
    services = [path for path in paths.SERVICES.rglob("*") if path.suffix in {".py", ".conf", ".txt"}]
    return [*(paths.PACKAGE / f"{name}.py" for name in _IMPORTED), *services]
