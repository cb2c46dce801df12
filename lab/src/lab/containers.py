"""Containers of the lab's own programs: each is what its key says, or is made anew."""

from __future__ import annotations

from collections.abc import Sequence

from lab.console import LabError
from lab.process import attempt, run, succeeds, wait_until

_KEY = "sdlc-lab.key"


def ensure(name: str, key: str, arguments: Sequence[str]) -> bool:
    """Have the container *name* running with `docker run` *arguments*; tell whether it was started.

    Args:
        key: Stands for all that goes into it; a container with another key is replaced.
    """
    template = f'{{{{index .Config.Labels "{_KEY}"}}}} {{{{.State.Running}}}}'
    has, _, running = attempt(["docker", "inspect", "--format", template, name]).stdout.strip().partition(" ")
    if has == key and running == "true":
        return False
    if has == key and succeeds(["docker", "start", name]):
        return True
    remove(name)
    try:
        run(["docker", "run", "--detach", "--name", name, "--label", f"{_KEY}={key}", *arguments])
    except LabError:
        remove(name)
        raise
    return True


def remove(name: str) -> None:
    """Remove the container *name* and its disk, if there is one."""
    attempt(["docker", "rm", "--force", "--volumes", name])


def wait_for(name: str, probe: Sequence[str], what: str, *, timeout: float) -> None:
    """Wait until the command *probe* succeeds in the container *name*.

    Raises:
        LabError: It did not in time, or the container ended; the message has its last words.
    """

    def ready() -> bool:
        if succeeds(["docker", "exec", name, *probe]):
            return True
        state = attempt(["docker", "inspect", "--format", "{{.State.Running}}", name])
        if state.stdout.strip() != "true":
            logs = attempt(["docker", "logs", "--tail", "25", name])
            raise LabError(f"the container {name} ended:\n{logs.stdout}{logs.stderr}")
        return False

    wait_until(ready, what, timeout=timeout, hint=f"see: docker logs {name}")
