"""Forges: where repositories live and pull requests are opened.

`addresses` reads a repository's URL, `model` holds what every provider can do, `detection` tells which provider speaks
to a forge. A provider (`github`, `gitlab`, `gitea`) opens pull requests, its `…_check` says what keeps the agents from
that, its `…_conversation` reads what was said; `calls`, `checking` and `owners` are what they share, `answers` keeps
what GitHub need not say again. The next provider is modules beside these, a line in `_PROVIDERS` and a probe in
`detection`.
"""

from collections.abc import Callable

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.detection import address_at, detect
from sdlc_agents.forges.gitea import GiteaForge
from sdlc_agents.forges.github import GitHubForge
from sdlc_agents.forges.gitlab import GitLabForge
from sdlc_agents.forges.model import Forge
from sdlc_agents.projects.policies import ForgeKind

__all__ = ["Forge", "connect"]

_PROVIDERS: dict[ForgeKind, Callable[[RepositoryAddress, str, httpx.AsyncClient], Forge]] = {
    ForgeKind.GITHUB: GitHubForge,
    ForgeKind.GITLAB: GitLabForge,
    ForgeKind.GITEA: GiteaForge,
}


async def connect(repository_url: str, token: str, client: httpx.AsyncClient, kind: ForgeKind | None = None) -> Forge:
    """The forge of a repository: of this `kind`, or else told by its host or by asking it (without the token).

    Raises `ForgeUnavailableError` when a forge does not answer now, `ForgeError` for one that no provider speaks to.
    """
    if kind is None:
        kind, address = await detect(repository_url, client)
    else:
        kind = ForgeKind(kind)
        address = address_at(kind, repository_url)
    return _PROVIDERS[kind](address, token, client)
