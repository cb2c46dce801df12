"""The Docker engine that carries the lab: any that answers, else one started here.

`client` is the only way to it. The command line `docker` is left to `lab exec-outside`, which hands over the
terminal's streams, and to those who look at the lab by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool
from requests import RequestException

from lab import machine, paths
from lab.console import LabError, say, step
from lab.process import locked, run, wait_until, write

NETWORK = "sdlc-lab"
SUBNET = "10.212.0.0/24"
GATEWAY = "10.212.0.1"

_RUN_FOLDER = Path("/var/run/docker")
_SOCKET = Path("/var/run/docker.sock")
_PID_FILE = Path("/var/run/docker.pid")

# Removing a host's disk, or importing an image, takes long on a machine that is busy.
_SECONDS = 600

# What systemd and a Docker engine need inside a container, where the machine itself lacks a
# capability (CAP_SYS_RESOURCE, mostly) and `--privileged` is therefore refused.
_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_TIME SYS_TTY_CONFIG MKNOD "
    "LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
    "BLOCK_SUSPEND AUDIT_READ"
)


@contextmanager
def client(seconds: int = _SECONDS) -> Iterator[docker.DockerClient]:
    """A client of the engine: the one that DOCKER_HOST names, or this machine's own.

    Args:
        seconds: How long the engine may take for one answer.

    Raises:
        LabError: No engine answers, or it refuses what it is asked for; the message has its words.
    """
    try:
        connected = docker.from_env(timeout=seconds)
    except (DockerException, RequestException) as error:
        raise LabError(f"no Docker engine answers: {error}", "start one, or let the lab do it: lab engine") from error
    try:
        yield connected
    except APIError as error:
        raise LabError(f"the Docker engine refused: {error.explanation or error}") from error
    except (DockerException, RequestException) as error:
        raise LabError(f"the Docker engine could not be asked: {error}") from error
    finally:
        connected.close()


def ensure() -> None:
    """Have an engine that answers, and the lab's network on it."""
    machine.install_tools(engine_answers=answers())
    with locked("engine"):
        if not answers():
            _start()
        _ensure_network()


def answers() -> bool:
    """Whether a Docker engine answers."""
    try:
        with client(seconds=10) as engine:
            return engine.ping()
    except LabError:
        return False


def stop() -> None:
    """End the engine, if this lab started it. Its images and volumes stay on disk."""
    pid_file = paths.cache("engine", "dockerd.pid")
    with locked("engine"):
        pid = _running(pid_file, "dockerd")
        if pid is None:
            return
        os.kill(pid, 15)
        wait_until(lambda: _running(pid_file, "dockerd") is None, "dockerd has ended", timeout=60)
        pid_file.unlink(missing_ok=True)
        say("the Docker engine was stopped")


def host_options(image: str) -> dict[str, Any]:
    """The options of `containers.Container` with which a container of *image* can be a whole host.

    Whether the machine allows privileged containers is found out by trying, once an engine and kernel.
    """
    with client() as engine:
        facts = engine.info()
        identity = f"{facts['KernelVersion']} {facts['ID']}"
        memory = paths.cache("engine", "privileged.json")
        known: dict[str, bool] = json.loads(memory.read_text()) if memory.is_file() else {}
        if identity not in known:
            known = {identity: _allows_privileged(engine, image)}
            write(memory, json.dumps(known))
    options: dict[str, Any] = {"tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec"}}  # noqa: S108 - in the host
    if facts["CgroupVersion"] == "1":
        options["binds"] = ["/sys/fs/cgroup:/sys/fs/cgroup:ro"]
    else:
        options["cgroupns"] = "private"
    if known[identity]:
        return {**options, "privileged": True}
    return {
        **options,
        "cap_drop": ["ALL"],
        "cap_add": _CAPABILITIES.split(),
        "security_opt": ["seccomp=unconfined", "systempaths=unconfined"],
        "device_cgroup_rules": ["a *:* rwm"],
    }


def _allows_privileged(engine: docker.DockerClient, image: str) -> bool:
    try:
        engine.containers.run(image, entrypoint="/bin/true", remove=True)
    except DockerException as error:
        raise LabError(f"the engine cannot run any container: {error}", "see its log") from error
    try:
        engine.containers.run(image, entrypoint="/bin/true", remove=True, privileged=True)
    except DockerException:
        return False
    return True


def _start() -> None:
    pid_file = paths.cache("engine", "dockerd.pid")
    log = paths.cache("engine", "dockerd.log")
    hint = f"see {log}"
    for known in (pid_file, _PID_FILE):
        if _running(known, "dockerd") is not None:
            wait_until(answers, "the Docker engine that runs already answers", timeout=60, hint=hint)
            return
    if os.geteuid() != 0:
        raise LabError("no Docker engine answers", "start one, or run as root")
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "start", "docker"], hint="see: journalctl -u docker")
        wait_until(answers, "the Docker engine answers", timeout=60, hint="see: journalctl -u docker")
        return
    _remove_leftovers(pid_file)
    with step("starting a Docker engine"), log.open("ab") as output:
        process = subprocess.Popen(
            [
                "dockerd",
                f"--host=unix://{_SOCKET}",
                f"--pidfile={pid_file}",
                f"--mtu={machine.mtu()}",
                "--log-level=warn",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )

        def ready() -> bool:
            if process.poll() is not None:
                tail = log.read_text(errors="replace").splitlines()[-15:]
                raise LabError("dockerd ended at once:\n" + "\n".join(tail), hint)
            return answers()

        wait_until(ready, "the Docker engine answers", timeout=90, hint=hint)


def _remove_leftovers(pid_file: Path) -> None:
    """Remove what a killed engine left; a recycled process id would keep a new one from starting."""
    leftovers = [pid_file, _PID_FILE, _SOCKET]
    if _running(_RUN_FOLDER / "containerd/containerd.pid", "containerd") is None:
        leftovers += sorted(_RUN_FOLDER.glob("containerd/*.pid"))
        leftovers += sorted(_RUN_FOLDER.glob("containerd/*.sock*"))
    for path in leftovers:
        path.unlink(missing_ok=True)


def _running(pid_file: Path, name: str) -> int | None:
    """The process id in *pid_file*, if such a process lives and is called *name*."""
    try:
        pid = int(pid_file.read_text())
        status = Path(f"/proc/{pid}/status").read_text()
        # One that was killed and that nobody has waited for keeps its name, as a zombie.
        alive = status.startswith(f"Name:\t{name}\n") and "\nState:\tZ" not in status
    except (OSError, ValueError):
        return None
    return pid if alive else None


def _ensure_network() -> None:
    with client() as engine:
        try:
            engine.networks.get(NETWORK)
        except NotFound:
            pool = IPAMPool(subnet=SUBNET, gateway=GATEWAY)
            try:
                engine.networks.create(
                    NETWORK,
                    driver="bridge",
                    ipam=IPAMConfig(pool_configs=[pool]),
                    options={
                        "com.docker.network.driver.mtu": str(machine.mtu()),
                        "com.docker.network.bridge.name": NETWORK,
                    },
                )
            except APIError as error:
                raise LabError(
                    f"the network {NETWORK} ({SUBNET}) could not be made: {error.explanation}",
                    "remove what uses these addresses (`ip route`, `docker network ls`), then try again",
                ) from error
