"""A run's copy of the repository, at the consumer: bare, so that no file of it is ever written out here."""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog

from sdlc_agents.consumer.checkout.bundle_inspection import RESULT, BundleLimits, confined, inspect_bundle
from sdlc_agents.consumer.checkout.lent_files import Borrowed, borrow
from sdlc_agents.consumer.checkout.mirrors import Mirror, Mirrors
from sdlc_agents.consumer.checkout.remote import Remote
from sdlc_agents.consumer.checkout.shallow_fetch import ShallowClone
from sdlc_agents.consumer.checkout.survey import survey
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Git, GitError
from sdlc_agents.git.trees import BORROWED
from sdlc_agents.projects.policies import AgentPolicy

_LIST_SECONDS = 30.0
_HEADS = "refs/heads/"

log = structlog.get_logger()


@dataclass(frozen=True)
class Checkout:
    """Where the work starts: the branch's head where it exists and has something new, else the base's."""

    base_branch: str
    start_commit: str
    branch_commit: str | None
    shallow: tuple[str, ...]


class Workspace:
    """One directory, one run. With `mirrors`, the objects are those of the repository's mirror."""

    def __init__(self, directory: Path, remote: Remote, mirrors: Mirrors | None = None) -> None:
        self._directory = directory
        self._remote = remote
        self._mirrors = mirrors
        self._mirror: Mirror | None = None
        self.borrowed = Borrowed()
        self._git = Git(directory / "repository.git", protocols=remote.transport.protocols)

    @property
    def outgoing(self) -> Path:
        """The bundle for the runner."""
        return self._directory / "outgoing.bundle"

    @property
    def incoming(self) -> Path:
        """Where the runner's bundle is to be put."""
        return self._directory / "incoming.bundle"

    async def fetch(self, branch: str, base_branch: str | None) -> Checkout:
        """Get the base branch (the forge's default where None), and `branch` where it exists.

        Raises `RunFailedError` when there is no such base, `GitError` when the forge cannot be used.
        """
        self._git.directory.mkdir(parents=True)
        # Also with a mirror: what this run's own token may not read, it does not get.
        refs, default = await self._list(branch, base_branch)
        base = base_branch or default
        if base is None or _HEADS + base not in refs:
            raise RunFailedError(
                f"{self._remote.url} has no branch {base or '(it is empty)'}: set base_branch of the repository to one "
                "that exists",
                outcome="base_branch_missing",
            )
        if base == branch:
            raise RunFailedError(
                f"the base branch of {self._remote.url} is {branch}, the branch of this ticket's own work",
                outcome="base_branch_missing",
            )
        wanted = {name: refs[_HEADS + name] for name in (base, branch) if _HEADS + name in refs}
        found = None
        if self._mirrors is not None:
            found = await self._mirrors.use(
                self._remote.url, lambda directory: self._take(wanted, ShallowClone(directory, self._remote))
            )
        if found is None:
            await self._take_directly(wanted)
        self._mirror = found
        return await self._checkout(base, branch)

    async def borrow(
        self, policy: AgentPolicy, start_commit: str, client: httpx.AsyncClient, *, lfs_mb: int
    ) -> Borrowed:
        """Get the files of submodules and of Git LFS that the policy wants; the bundle will carry them."""
        self.borrowed = await borrow(
            self._git, self._directory, start_commit, self._remote, policy, client, lfs_mb=lfs_mb
        )
        return self.borrowed

    async def pack(self, branches: tuple[str, ...]) -> Path:
        """The bundle with these branches, for the runner."""
        try:
            await self._bundle(branches)
        except GitError as error:
            if self._mirror is None:
                raise
            log.warning("mirror_broken", url=self._remote.url, error=error.message)
            self._mirror.discard()
            heads = {name: await self._head(name) for name in branches}
            await self._take_directly(heads)
            if {name: await self._head(name) for name in branches} != heads:
                raise
            await self._bundle(branches)
        return self.outgoing

    async def accept(self, branch: str, start_commit: str, limits: BundleLimits) -> str:
        """The commit of the runner's bundle, after every check. Raises `RunFailedError`."""
        return await inspect_bundle(self._git, self.incoming, branch=branch, start_commit=start_commit, limits=limits)

    async def push(self, branch: str) -> None:
        """Push the accepted commit. Never forced: raises `RunFailedError` when the branch was moved meanwhile."""
        try:
            await self._remote.run(
                self._git.directory, "push", "--quiet", "--no-verify", self._remote.url, f"{RESULT}:{_HEADS}{branch}"
            )
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

    async def survey(self, start_commit: str) -> str:
        """What the prompt says about the repository."""
        return await survey(self._git, start_commit)

    async def summary(self, start_commit: str) -> str:
        """`3 files changed, 10 insertions(+)`; large files count without their lines."""
        command = ("diff", "--shortstat", "--no-ext-diff", "--no-renames", start_commit, RESULT)
        try:
            return (await confined(self._git).run(*command)).strip()
        except GitError as error:
            # The result is accepted all the same: only its figures are missing.
            log.warning("changes_not_counted", error=error.message)
            return "changes not counted"

    def remove(self) -> None:
        """Delete the directory, and let go of the mirror."""
        shutil.rmtree(self._directory, ignore_errors=True)
        if self._mirror is not None:
            self._mirror.close()

    async def _take_directly(self, wanted: Mapping[str, str]) -> None:
        """Without a mirror: from the forge into this run's own directory."""
        directory = self._directory / "objects.git"
        for filtered in (True, False):
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            try:
                return await self._take(wanted, ShallowClone(directory, self._remote, filtered=filtered))
            except GitError as error:
                if "no space left" in error.message.casefold():
                    raise RunFailedError(
                        f"{self._remote.url} does not fit into the consumer's workspace: raise app_job_size_mb, or "
                        "remove large files from its newest commits",
                        outcome="workspace_full",
                    ) from error
                if not filtered:
                    raise
                log.info("partial_fetch_refused", url=self._remote.url, error=error.message)
        return None

    async def _take(self, wanted: Mapping[str, str], source: ShallowClone) -> None:
        heads = await source.fetch(wanted)
        if heads.keys() != wanted.keys():
            raise GitError("the branches are not there any more")
        # Whatever a broken mirror lent is taken back; other references and objects of this run stay.
        for name in heads:
            (self._git.directory / _HEADS / name).unlink(missing_ok=True)
        (self._git.directory / "shallow").unlink(missing_ok=True)
        await self._git.run("init", "--quiet", "--bare", "--template=", f"--initial-branch={next(iter(wanted))}")
        await source.lend(self._git, heads)

    async def _checkout(self, base: str, branch: str) -> Checkout:
        start, existing = await self._head(base), None
        if (self._git.directory / _HEADS / branch).exists():
            existing = await self._head(branch)
            contained = await self._git.run("rev-list", "--max-count=1", existing, f"^{start}")
            start = existing if contained else start
        return Checkout(base, start, existing, self._shallow())

    async def _bundle(self, branches: tuple[str, ...]) -> None:
        references = [*(_HEADS + name for name in branches), *([BORROWED] if self.borrowed else [])]
        await self._git.run("bundle", "create", "--quiet", str(self.outgoing), *references, seconds=600)

    async def _list(self, branch: str, base_branch: str | None) -> tuple[Mapping[str, str], str | None]:
        names = ["HEAD", _HEADS + branch, *([_HEADS + base_branch] if base_branch else [])]
        listing = await self._remote.run(
            self._git.directory, "ls-remote", "--symref", self._remote.url, *names, seconds=_LIST_SECONDS
        )
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

    async def _head(self, branch: str) -> str:
        return (await self._git.run("rev-parse", "--verify", f"{_HEADS}{branch}^{{commit}}")).strip()

    def _shallow(self) -> tuple[str, ...]:
        file = self._git.directory / "shallow"
        return tuple(file.read_text(encoding="ascii").split()) if file.exists() else ()
