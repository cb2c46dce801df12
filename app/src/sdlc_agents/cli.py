"""`sdlc-agents <service>`: starts one service or runs one tool.

A service's module is imported when it is asked for, so that none carries another's memory or start-up time.
"""

import importlib
import sys
from collections.abc import Callable, Sequence

from sdlc_agents import __version__

SERVICES = {
    "jira-webhook-api": "sdlc_agents.webhooks.service:run",
    "configuration-api": "sdlc_agents.configuration.service:run",
    "developer-agent-consumer": "sdlc_agents.agent.service:run",
    "agent-runner": "sdlc_agents.runner.service:run",
    "llm-gateway": "sdlc_agents.gateway.service:run",
    "mongodb-exporter": "sdlc_agents.mongodb_exporter.service:run",
}
TOOLS = {
    "healthcheck": "sdlc_agents.healthcheck:run",
    "migrate": "sdlc_agents.migrations.service:run",
    "version": "sdlc_agents.cli:version",
}
EX_USAGE = 64


def version() -> None:
    """Print the version."""
    print(__version__)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point; ends with 64 (EX_USAGE) when it is asked for something it does not know."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    known = SERVICES | TOOLS
    if given in (["-h"], ["--help"]):
        print(_usage())  # noqa: T201
        return
    if len(given) != 1 or given[0] not in known:
        print(_usage(), file=sys.stderr)  # noqa: T201
        raise SystemExit(EX_USAGE)
    module, _, name = known[given[0]].partition(":")
    function: Callable[[], None] = getattr(importlib.import_module(module), name)
    function()


def _usage() -> str:
    return f"usage: sdlc-agents {{{' | '.join(SERVICES)}}}\n       sdlc-agents {{{' | '.join(TOOLS)}}}"


if __name__ == "__main__":
    main()
