"""Forges: where repositories live and pull requests are opened.

`addresses` reads a repository's URL, `model` holds what every provider can do, `gitea` is the provider for Gitea and
Forgejo. The next provider is a module beside it and a line in `connect`.
"""

from urllib.parse import urlsplit

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.gitea import GiteaForge
from sdlc_agents.forges.model import Forge, ForgeError
from sdlc_agents.projects.policies import ForgeKind

__all__ = ["Forge", "connect"]

_OTHERS = {"github.com": "GitHub", "gitlab.com": "GitLab", "bitbucket.org": "Bitbucket"}


def connect(repository_url: str, token: str, client: httpx.AsyncClient, kind: ForgeKind | None = None) -> Forge:
    """The forge of a repository, told by its host unless `kind` says what it is.

    Raises `ForgeError` for one that no provider here speaks to.
    """
    host = urlsplit(repository_url).hostname or ""
    if kind != ForgeKind.GITEA and host in _OTHERS:
        raise ForgeError(f"repositories on {_OTHERS[host]} ({host}) are not supported by this release")
    return GiteaForge(RepositoryAddress.parse(repository_url), token, client)
