"""The forge's repository, as git reaches it: with the project's token, through the egress proxy, patiently."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Credentials, Git, GitError

_SECONDS = 600.0
_ATTEMPTS = 3
_HINTS = {
    "authentication failed": "the repository's git_access_token is not valid there",
    "could not read password": "the repository's git_access_token was asked for by another host",
    "returned error: 403": "the repository's git_access_token may not do this",
    "not found": "the repository does not exist there, or its git_access_token may not see it",
    "certificate": "its certificate is not trusted: add its authority to extra_trusted_ca_certificates",
    "connect tunnel failed": "the egress proxy does not let it through: add its host to the allow-list",
}
_PERMANENT = ("denied", "declined", "rejected", "returned error: 40", "no space left")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]*")


@dataclass(frozen=True)
class Transport:
    """How git reaches forges: through the egress proxy, trusting these authorities, by these protocols."""

    proxy: str | None = None
    ca_file: Path | None = None
    protocols: tuple[str, ...] = ("https",)

    def options(self) -> tuple[str, ...]:
        """As git's configuration."""
        options = ["http.lowSpeedLimit=1000", "http.lowSpeedTime=60", f"http.proxy={self.proxy or ''}"]
        if self.ca_file is not None:
            options.append(f"http.sslCAInfo={self.ca_file}")
        return tuple(options)


@dataclass(frozen=True)
class Remote:
    """One repository's clone address, what the forge asks for there, and the way to it."""

    url: str
    credentials: Credentials | None
    transport: Transport

    async def run(
        self,
        directory: Path,
        *arguments: str,
        options: tuple[str, ...] = (),
        stdin: bytes | None = None,
        seconds: float = _SECONDS,
    ) -> str:
        """git in that directory, which may talk to this repository.

        Tried again where that may help. Raises `RunFailedError` when people have to change something, else `GitError`.
        """
        git = Git(directory, protocols=self.transport.protocols, options=(*self.transport.options(), *options))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await git.run(*arguments, seconds=seconds, credentials=self.credentials, stdin=stdin)
            except GitError as error:
                said = _without_address(error.message, self.url)
                hint = next((hint for words, hint in _HINTS.items() if words in said), None)
                if hint is not None:
                    raise RunFailedError(f"{self.url}: {hint} ({error.message})", outcome="forge_refused") from error
                if attempt == _ATTEMPTS or any(words in said for words in _PERMANENT):
                    raise
        raise AssertionError("unreachable")


def _without_address(message: str, url: str) -> str:
    """What git said, in lower case, without the repository's names: `certificate-manager` says nothing of trust."""
    parts = urlsplit(url.casefold())
    path = parts.path.strip("/")
    said = _ADDRESS.sub("", message.casefold().replace(url.casefold(), ""))
    for name in (path, path.removesuffix(".git"), parts.hostname):
        if name:
            said = said.replace(name, "")
    return said
