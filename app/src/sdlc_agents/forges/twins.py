"""One pull request for a branch, also where a forge lets two callers open it at one moment."""

from collections.abc import Awaitable, Callable

from sdlc_agents.forges.model import ForgeUnavailableError, PullRequest


async def keep_older(
    made: PullRequest, oldest: PullRequest | None, close: Callable[[int], Awaitable[object]]
) -> PullRequest:
    """Of the one that was opened now and the oldest open one, the older; the one that was opened now is closed then."""
    if oldest is None or oldest.number >= made.number:
        return made
    await close(made.number)
    return oldest


def listed(found: PullRequest | None, host: str) -> PullRequest:
    """The one that the forge says is open already; raises `ForgeUnavailableError` where it does not list it yet."""
    if found is None:
        raise ForgeUnavailableError(f"{host} names a pull request that it does not list")
    return found
