"""The forge of a repository, by the provider that speaks to it."""

from collections.abc import Callable

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.detection import address_at, detect
from sdlc_agents.forges.gitea.client import GiteaForge
from sdlc_agents.forges.github.client import GitHubForge
from sdlc_agents.forges.gitlab.client import GitLabForge
from sdlc_agents.forges.model import Forge, ForgeKind

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
