"""The one container in which all outside services run."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lab import containers, engine, images, paths
from lab.console import step
from lab.process import content_key, file_sha256, locked
from lab.services import SERVICES_ADDRESS, packages, secrets, tls
from lab.services.gitea import build

CONTAINER = "sdlc-lab-services"
NAMES = ("gitea.lab", "claude.lab", "jira.lab", "logs.lab", "alerts.lab")

_PACKAGES = ("nginx-light", "git")
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
        arguments = _arguments(image, directory, certificate)
        key = content_key(*arguments, certificate.read_text(), *_code())
        started = containers.ensure(CONTAINER, key, arguments)
        with step("starting the outside services") if started else contextlib.nullcontext():
            probe = ["python3", "-m", "lab.services.probe", "/lab/secrets", "/lab/ca.crt"]
            containers.wait_for(CONTAINER, probe, "the outside services answer", timeout=240)


def down() -> None:
    """Remove the services and what they hold; credentials and caches stay."""
    containers.remove(CONTAINER)


def _arguments(image: str, directory: Path, certificate: Path) -> list[str]:
    gitea = build.ensure().program.parent
    mounts = {
        f"{paths.PACKAGE}": "/lab/code/lab:ro",
        f"{packages.ensure()}": "/lab/python:ro",
        f"{gitea}": "/lab/gitea:ro",
        f"{directory}": "/lab/secrets",
        f"{certificate}": "/lab/tls/services.crt:ro",
        f"{certificate.with_suffix('.key')}": "/lab/tls/services.key:ro",
        f"{certificate.with_name('ca.crt')}": "/lab/ca.crt:ro",
    }
    aliases = [word for name in NAMES for word in ("--network-alias", name)]
    return [
        *("--hostname", "services", "--network", engine.NETWORK, "--ip", SERVICES_ADDRESS, *aliases),
        *("--env", "PYTHONPATH=/lab/code:/lab/python", "--env", "PYTHONDONTWRITEBYTECODE=1"),
        *("--env", "PYTHONUNBUFFERED=1", "--log-opt", "max-size=10m", "--memory", "2g"),
        *(word for source, target in mounts.items() for word in ("--volume", f"{source}:{target}")),
        *(image, "python3", "-m", "lab.services.supervisor"),
    ]


def _code() -> list[str]:
    """What the container runs: another content is another container."""
    files = (path for path in sorted(paths.SERVICES.rglob("*")) if path.is_file())
    return [
        f"{path.relative_to(paths.SERVICES)} {file_sha256(path)}"
        for path in files
        if path.suffix in {".py", ".conf", ".txt"} and "tests" not in path.relative_to(paths.SERVICES).parts[:1]
    ]
