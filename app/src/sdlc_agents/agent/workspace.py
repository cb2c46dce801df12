"""A run's copy of the repository, at the consumer: bare, so that no file of it is ever written out here."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdlc_agents.agent.development import RunFailedError
from sdlc_agents.agent.git import Credentials, Git, GitError
from sdlc_agents.agent.inspection import RESULT, Limits, inspect_bundle

DEPTH = 50
_NETWORK_SECONDS = 600.0
_LIST_SECONDS = 30.0
_ATTEMPTS = 3
_HEADS = "refs/heads/"
_HINTS = {
    "authentication failed": "the repository's git_access_token is not valid there",
    "could not read password": "the repository's git_access_token was asked for by another host",
    "returned error: 403": "the repository's git_access_token may not do this",
    "not found": "the repository does not exist there, or its git_access_token may not see it",
    "certificate": "its certificate is not trusted: add its authority to extra_trusted_ca_certificates",
    "connect tunnel failed": "the egress proxy does not let it through: add its host to the allow-list",
}
_PERMANENT = ("denied", "declined", "rejected", "returned error: 40")


@dataclass(frozen=True)
class Checkout:
    """Where the work starts: the branch's head where it exists and has something new, else the base's."""

    base_branch: str
    start_commit: str
    branch_commit: str | None
    shallow: tuple[str, ...]


class Workspace:
    """One directory, one run. `remote` is the clone address; `transport` says how git gets there (proxy, CA)."""

    def __init__(self, directory: Path, remote: str, credentials: Credentials | None, transport: "Transport") -> None:
        self._directory = directory
        self._remote = remote
        self._credentials = credentials
        self._git = Git(directory / "repository.git", protocols=transport.protocols, options=transport.options())

    @property
    def outgoing(self) -> Path:
        """The bundle for the runner."""
        return self._directory / "outgoing.bundle"

    @property
    def incoming(self) -> Path:
        """Where the runner's bundle is to be put."""
        return self._directory / "incoming.bundle"

    async def fetch(self, branch: str, base_branch: str | None) -> Checkout:
        """Get the base branch (the forge's default where None), and `branch` where it exists, `DEPTH` commits deep.

        Raises `RunFailedError` when there is no such base, `GitError` when the forge cannot be used.
        """
        self._git.directory.mkdir(parents=True)
        refs, default = await self._list(branch, base_branch)
        base = base_branch or default
        if base is None or _HEADS + base not in refs:
            raise RunFailedError(
                f"{self._remote} has no branch {base or '(it is empty)'}: set base_branch of the repository to one "
                "that exists",
                outcome="base_branch_missing",
            )
        if base == branch:
            raise RunFailedError(
                f"the base branch of {self._remote} is {branch}, the branch of this ticket's own work",
                outcome="base_branch_missing",
            )
        existing = refs.get(_HEADS + branch)
        wanted = [base, branch] if existing else [base]
        await self._git.run("init", "--quiet", "--bare", "--template=", f"--initial-branch={base}")
        await self._remote_git(
            "fetch",
            "--quiet",
            "--no-tags",
            f"--depth={DEPTH}",
            self._remote,
            *(f"+{_HEADS}{name}:{_HEADS}{name}" for name in wanted),
        )
        start = await self._head(base)
        if existing:
            existing = await self._head(branch)
            contained = await self._git.run("rev-list", "--max-count=1", existing, f"^{start}")
            start = existing if contained else start
        return Checkout(base, start, existing, self._shallow())

    async def pack(self, branches: tuple[str, ...]) -> Path:
        """The bundle with these branches, for the runner."""
        await self._git.run(
            "bundle", "create", "--quiet", str(self.outgoing), *(_HEADS + name for name in branches), seconds=600
        )
        return self.outgoing

    async def accept(self, branch: str, start_commit: str, limits: Limits) -> str:
        """The commit of the runner's bundle, after every check. Raises `RunFailedError`."""
        return await inspect_bundle(self._git, self.incoming, branch=branch, start_commit=start_commit, limits=limits)

    async def push(self, branch: str) -> None:
        """Push the accepted commit. Never forced: raises `RunFailedError` when the branch was moved meanwhile."""
        try:
            await self._remote_git("push", "--quiet", "--no-verify", self._remote, f"{RESULT}:{_HEADS}{branch}")
        except GitError as error:
            if any(words in error.message for words in ("fetch first", "non-fast-forward", "stale info")):
                raise RunFailedError(
                    f"{branch} was changed by someone else while the agent worked, and is left as it is: "
                    "start the ticket again to work on top of it",
                    outcome="branch_moved",
                ) from error
            raise

    async def remote_commit(self, branch: str) -> str | None:
        """What the branch is now on the forge."""
        self._git.directory.mkdir(parents=True, exist_ok=True)
        refs, _ = await self._list(branch, None)
        return refs.get(_HEADS + branch)

    async def summary(self, start_commit: str) -> str:
        """`3 files changed, 10 insertions(+)`."""
        return (await self._git.run("diff", "--shortstat", "--no-ext-diff", start_commit, RESULT)).strip()

    def remove(self) -> None:
        """Delete the directory."""
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _list(self, branch: str, base_branch: str | None) -> tuple[Mapping[str, str], str | None]:
        names = ["HEAD", _HEADS + branch, *([_HEADS + base_branch] if base_branch else [])]
        listing = await self._remote_git("ls-remote", "--symref", self._remote, *names, seconds=_LIST_SECONDS)
        refs: dict[str, str] = {}
        default: str | None = None
        for line in listing.splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: " + _HEADS):
                default = value.removeprefix("ref: " + _HEADS)
            elif not value.startswith("ref:"):
                refs[name] = value
        if default is not None and "HEAD" in refs:
            refs.setdefault(_HEADS + default, refs["HEAD"])
        return refs, default

    async def _remote_git(self, *arguments: str, seconds: float = _NETWORK_SECONDS) -> str:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._git.run(*arguments, seconds=seconds, credentials=self._credentials)
            except GitError as error:
                said = error.message.casefold()
                hint = next((hint for words, hint in _HINTS.items() if words in said), None)
                if hint is not None:
                    raise RunFailedError(
                        f"{self._remote}: {hint} ({error.message})", outcome="forge_refused"
                    ) from error
                if attempt == _ATTEMPTS or any(words in said for words in _PERMANENT):
                    raise
        raise AssertionError("unreachable")

    async def _head(self, branch: str) -> str:
        return (await self._git.run("rev-parse", "--verify", f"{_HEADS}{branch}^{{commit}}")).strip()

    def _shallow(self) -> tuple[str, ...]:
        file = self._git.directory / "shallow"
        return tuple(file.read_text(encoding="ascii").split()) if file.exists() else ()


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
