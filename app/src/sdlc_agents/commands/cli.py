"""`sdlc-agents <service>`: starts one service or runs one tool.

A service's module is imported when it is asked for, so that none carries another's memory or start-up time.
"""

import gc
import importlib
import sys
from collections.abc import Callable, Sequence

from sdlc_agents import __version__
from sdlc_agents.kernel import waiting

SERVICES = {
    "jira-webhook-api": "sdlc_agents.webhooks.service:run",
    "configuration-api": "sdlc_agents.configuration.service:run",
    "developer-agent-consumer": "sdlc_agents.consumer.service:run",
    "agent-runner": "sdlc_agents.runner.service:run",
    "llm-gateway": "sdlc_agents.gateway.service:run",
    "mongodb-exporter": "sdlc_agents.mongodb_exporter.service:run",
}
TOOLS = {
    "healthcheck": "sdlc_agents.commands.healthcheck:run",
    "migrate": "sdlc_agents.commands.migrate:run",
    "rewrap-keys": "sdlc_agents.commands.rewrap_keys:run",
    "version": "sdlc_agents.commands.cli:version",
}
COMMANDS = {"api-keys": "sdlc_agents.commands.api_keys:run"}
"""Tools that take arguments of their own."""
EX_USAGE = 64


def version() -> None:
    """Print the version."""
    print(__version__)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point; ends with 64 (EX_USAGE) when it is asked for something it does not know."""
    # Before any library is imported: some keep what they found.
    waiting.mend()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["-h"], ["--help"]):
        print(_usage())  # noqa: T201
        return
    if given and given[0] in COMMANDS:
        command: Callable[[Sequence[str]], None] = _find(COMMANDS[given[0]])
        command(given[1:])
        return
    known = SERVICES | TOOLS
    if len(given) != 1 or given[0] not in known:
        print(_usage(), file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_USAGE)
    function: Callable[[], None] = _find(known[given[0]])
    function()


def _find(place: str) -> Callable[..., None]:
    module, _, name = place.partition(":")
    # What imports make stays: to look through it for garbage again and again is a tenth of a service's start.
    gc.disable()
    try:
        found: Callable[..., None] = getattr(importlib.import_module(module), name)
    finally:
        gc.enable()
    return found


def _usage() -> str:
    lines = (f"{{{' | '.join(SERVICES)}}}", f"{{{' | '.join(TOOLS)}}}", f"{{{' | '.join(COMMANDS)}}} …")
    return "usage: sdlc-agents " + "\n       sdlc-agents ".join(lines)


if __name__ == "__main__":
    main()
