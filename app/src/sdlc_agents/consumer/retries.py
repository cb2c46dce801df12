"""Asking again what a run cannot do without, where that is safe and makes sense."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import stamina

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Forge, ForgeKind, ForgeUnavailableError, PullRequest, PullRequestText
from sdlc_agents.kernel.errors import UnavailableError

_OUTAGE_SECONDS = 300.0
_T = TypeVar("_T")


async def patiently(call: Callable[[], Awaitable[_T]]) -> _T:
    """Ask the database again while it is away: the lease decides for how long that makes sense."""
    async for attempt in stamina.retry_context(on=UnavailableError, attempts=None, timeout=_OUTAGE_SECONDS):
        with attempt:
            return await call()
    raise AssertionError("unreachable")


@stamina.retry(on=ForgeUnavailableError, attempts=4, timeout=30)
async def connect(url: str, token: str, client: httpx.AsyncClient, kind: ForgeKind | None) -> Forge:
    """The forge of a repository, as `forges.connection.connect` finds it."""
    return await connection.connect(url, token, client, kind)


@stamina.retry(on=ForgeUnavailableError, attempts=4, timeout=30)
async def ensure_pull_request(forge: Forge, text: PullRequestText) -> PullRequest:
    """The one pull request."""
    return await forge.ensure_pull_request(text)
