"""Containers on the lab's network: what they are made of, and what is done with them.

A container of the lab's own programs is what its key says, or is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.containers import Container as Known
from docker.types import HostConfig, NetworkingConfig

from lab import engine
from lab.console import LabError
from lab.process import wait_until

_KEY = "sdlc-lab.key"


@dataclass(frozen=True)
class Container:
    """What a container is made of.

    Attributes:
        address: On the lab's network.
        aliases: Names under which the network's other containers find it.
        binds: `source:target` or `source:target:ro` each; a source without a slash is a volume.
        options: What the SDK's `create_host_config` takes, by its names.
        stop_signal: The signal that asks its first process to end.
    """

    name: str
    image: str
    hostname: str
    address: str
    command: Sequence[str] = ()
    aliases: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    stop_signal: str | None = None


@dataclass(frozen=True)
class Told:
    """How a command in a container went; `output` is what it printed on both streams."""

    status: int
    output: str


def ensure(wanted: Container, key: str) -> bool:
    """Have the container *wanted* running; tell whether it was started.

    Args:
        key: Stands for all that goes into it; a container with another key is replaced.
    """
    with engine.client() as client:
        found = _find(client, wanted.name)
        if found is not None and found.labels.get(_KEY) == key:
            if found.status == "running":
                return False
            found.start()
            return True
    remove(wanted.name)
    start(wanted, {_KEY: key})
    return True


def start(wanted: Container, labels: Mapping[str, str]) -> None:
    """Make a container and start it; nothing is left of one that cannot start."""
    with engine.client() as client:
        api = client.api
        network = api.create_endpoint_config(ipv4_address=wanted.address, aliases=list(wanted.aliases))
        # By the network's name, whatever the stubs say.
        networks = NetworkingConfig({engine.NETWORK: network})  # type: ignore[arg-type]
        try:
            api.create_container(
                wanted.image,
                list(wanted.command) or None,
                detach=True,
                name=wanted.name,
                hostname=wanted.hostname,
                environment=dict(wanted.environment),
                labels=dict(labels),
                stop_signal=wanted.stop_signal,
                host_config=_host_config(client, wanted),
                networking_config=networks,
            )
            api.start(wanted.name)
        except BaseException:
            remove(wanted.name)
            raise


def restart(name: str) -> None:
    """Start the container *name*, which has stopped."""
    with engine.client() as client:
        client.containers.get(name).start()


def remove(name: str) -> None:
    """Remove the container *name* and its disk, if there is one."""
    with engine.client() as client:
        found = _find(client, name)
        if found is not None:
            found.remove(force=True, v=True)


def execute(name: str, *command: str, environment: Mapping[str, str] | None = None) -> Told:
    """Run *command* in the container *name*, which runs.

    Args:
        environment: Variables of the command, beside the container's own. Who may ask the engine sees them.

    Raises:
        LabError: There is no such container, or it does not run.
    """
    with engine.client() as client:
        told = client.containers.get(name).exec_run(list(command), environment=dict(environment or {}))
    # Of a command that has ended there is a status, and all it printed.
    assert told.exit_code is not None
    assert isinstance(told.output, bytes)
    return Told(told.exit_code, told.output.decode(errors="replace"))


def runs(name: str) -> bool:
    """Whether there is a container *name*, and it runs."""
    with engine.client() as client:
        found = _find(client, name)
        return found is not None and found.status == "running"


def last_words(name: str) -> str:
    """The end of what the container *name* printed."""
    with engine.client() as client:
        return client.containers.get(name).logs(tail=25).decode(errors="replace")


def wait_for(name: str, probe: Sequence[str], what: str, *, timeout: float) -> None:
    """Wait until the command *probe* succeeds in the container *name*.

    Raises:
        LabError: It did not in time, or the container ended; the message has its last words.
    """

    def ready() -> bool:
        if not runs(name):
            raise LabError(f"the container {name} ended:\n{last_words(name)}")
        try:
            return execute(name, *probe).status == 0
        except LabError:  # it ended in between, which the next look finds
            return False

    wait_until(ready, what, timeout=timeout, hint=f"see: docker logs {name}")


def _find(client: docker.DockerClient, name: str) -> Known | None:
    try:
        return client.containers.get(name)
    except NotFound:
        return None


def _host_config(client: docker.DockerClient, wanted: Container) -> HostConfig:
    options = dict(wanted.options)
    binds = [*options.pop("binds", ()), *wanted.binds]
    security = list(options.pop("security_opt", ()))
    # A word of the command line's alone, which it turns into these two lists. The SDK has no name for them.
    unmasked = "systempaths=unconfined" in security
    if unmasked:
        security.remove("systempaths=unconfined")
    config = client.api.create_host_config(
        network_mode=engine.NETWORK, binds=binds, security_opt=security or None, **options
    )
    if unmasked:
        config.update(MaskedPaths=[], ReadonlyPaths=[])
    return config
