"""A repository's address taken apart."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from sdlc_agents.forges.model import ForgeError


@dataclass(frozen=True)
class RepositoryAddress:
    """`https://host[:port]/[prefix/]owner/name`: the forge's base, the owner and the name (without `.git`)."""

    base: str
    owner: str
    name: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL; raises `ForgeError` unless it is https and names a repository."""
        parts = urlsplit(url)
        steps = [step for step in parts.path.removesuffix("/").removesuffix(".git").split("/") if step]
        if parts.scheme != "https" or not parts.hostname or parts.username is not None or len(steps) < 2:  # noqa: PLR2004
            raise ForgeError(f"{url!r} is not the https address of a repository (https://host/owner/name)")
        *prefix, owner, name = steps
        return cls("/".join([f"https://{parts.netloc}", *prefix]), owner, name)

    @property
    def origin(self) -> str:
        """`https://host[:port]`."""
        return "https://" + urlsplit(self.base).netloc

    @property
    def clone_url(self) -> str:
        """Where git fetches and pushes."""
        return f"{self.base}/{self.owner}/{self.name}.git"
