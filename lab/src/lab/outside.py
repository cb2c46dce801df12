"""Another host on the lab's network, from which tests look at an appliance as a stranger would."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from lab import containers, engine, images
from lab.mirror import server
from lab.process import content_key, locked

CONTAINER = "sdlc-lab-outside"
ADDRESS = "10.212.0.7"

_PACKAGES = ("curl", "openssl", "netcat-openbsd", "nmap", "openssh-client", "python3-pymongo", "python3-pika")


def up() -> str:
    """Have the container, with tools to try doors with; its name."""
    engine.ensure()
    wanted = containers.Container(
        name=CONTAINER,
        image=images.programs("outside", _PACKAGES),
        hostname="outside",
        address=ADDRESS,
        aliases=["outside.lab"],
        command=["sleep", "infinity"],
        options={"dns": [server.ADDRESS]},
    )
    with locked("outside"):
        containers.ensure(wanted, content_key(repr(wanted)))
    return CONTAINER


def run(command: Sequence[str]) -> int:
    """Run *command* there, with this terminal's streams, and return its exit status."""
    # By the command line: the SDK cannot hand a terminal over, nor end the standard input of a command alone.
    return subprocess.run(["docker", "exec", "-i", up(), *command], check=False).returncode


def down() -> None:
    """Remove the container."""
    containers.remove(CONTAINER)
