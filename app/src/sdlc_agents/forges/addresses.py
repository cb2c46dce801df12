"""A repository's address taken apart."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit

from sdlc_agents.forges.model import ForgeError


@dataclass(frozen=True)
class RepositoryAddress:
    """`https://host[:port]/[prefix/]owner/name`: the forge's base, the owner and the name (without `.git`).

    The URL alone does not tell a forge below a path (`prefix`) from groups within groups (`owner` is then `group/sub`):
    whoever knows the forge says where its base ends.
    """

    base: str
    owner: str
    name: str

    @classmethod
    def parse(cls, url: str, *, prefix_steps: int | None = None) -> Self:
        """Read a URL; raises `ForgeError` unless it is https and names a repository.

        `prefix_steps` is how many steps of the path belong to the forge's base; unless told, all but the last two.
        """
        parts = urlsplit(url)
        steps = [step for step in parts.path.removesuffix("/").removesuffix(".git").split("/") if step]
        count = max(len(steps) - 2, 0) if prefix_steps is None else prefix_steps
        if parts.scheme != "https" or not parts.hostname or parts.username is not None or len(steps) - count < 2:  # noqa: PLR2004
            raise ForgeError(f"{url!r} is not the https address of a repository (https://host/owner/name)")
        prefix, (*owner, name) = steps[:count], steps[count:]
        return cls("/".join([f"https://{parts.netloc}", *prefix]), "/".join(owner), name)

    @property
    def host(self) -> str:
        """`host[:port]`."""
        return urlsplit(self.base).netloc

    @property
    def origin(self) -> str:
        """`https://host[:port]`."""
        return "https://" + self.host

    @property
    def path(self) -> str:
        """`owner/name`, with all groups."""
        return f"{self.owner}/{self.name}"

    @property
    def encoded_path(self) -> str:
        """`path` as one step of a URL's path, its slashes encoded."""
        return quote(self.path, safe="")

    @property
    def clone_url(self) -> str:
        """Where git fetches and pushes."""
        return f"{self.base}/{self.path}.git"
