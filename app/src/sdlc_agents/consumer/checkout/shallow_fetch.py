"""A bare repository with the forge's newest commits and trees, and of the files only what a run needs.

It is fetched `DEPTH` commits deep and blobless (gitprotocol-v2, `filter blob:none`); what is needed of the files then
comes in one request. A forge that knows no filters sends everything, which is as good. git itself never fetches
anything in passing: only `Remote.run` may talk to the forge.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdlc_agents.consumer.checkout.remote import Remote
from sdlc_agents.git.command import Git

DEPTH = 50
HISTORY = 10
_NAME = "forge"
_CONFIG = f"""\
[core]
	repositoryformatversion = 1
	bare = true
[extensions]
	partialClone = {_NAME}
[remote "{_NAME}"]
	promisor = true
	partialCloneFilter = blob:none
"""
_LIST_BYTES = 256 * 1024 * 1024
_SECONDS = 300.0


class ShallowClone:
    """One such repository. Every `GitError` out of here may mean that it is broken."""

    def __init__(self, directory: Path, remote: Remote, *, filtered: bool = True) -> None:
        self.directory = directory
        self.git = Git(directory)
        self._remote = remote
        self._filter = ("--filter=blob:none",) if filtered else ()

    async def fetch(self, branches: Mapping[str, str]) -> dict[str, str]:
        """Get these branches, of which the forge just said what commits they are; what they are here, now.

        Nothing is asked for where all is there. A branch's name is no part of its reference's name, so that a branch
        `a/b` can follow a branch `a`.
        """
        references = {branch: f"refs/sdlc/{hashlib.sha256(branch.encode()).hexdigest()[:32]}" for branch in branches}
        await self._create()
        if await self._heads(references) != dict(branches):
            await self._talk(
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                f"--depth={DEPTH}",
                *self._filter,
                _NAME,
                *(f"+refs/heads/{branch}:{reference}" for branch, reference in references.items()),
            )
        return await self._heads(references)

    async def lend(self, git: Git, heads: Mapping[str, str]) -> None:
        """Make `git`, a new bare repository, one with these branches, `HISTORY` commits deep and complete.

        It takes the objects from here: this directory must stay for as long as that one is used.

        How deep: a runner has no forge to ask, so every file of every commit that it is given must be there, or
        `git log -p` breaks. Measured on 2000 files of source code: the newest tree alone 3.47 MB, 10 commits 3.48 and
        50 commits 3.55; with a file of 1 MB that changes in every second commit, 50 commits take 28.6 MB and 10 take
        8.5. Ten show how its people write commits. Where a branch and its base parted, nothing is left out of what one
        has and the other has not.
        """
        alternates = git.directory / "objects" / "info" / "alternates"
        alternates.parent.mkdir(parents=True, exist_ok=True)
        # Those after the first are not of this kind of loan.
        others = alternates.read_text().splitlines()[1:] if alternates.exists() else []
        alternates.write_text("".join(f"{line}\n" for line in (self.directory / "objects", *others)))
        shallow = await self._boundary(list(heads.values()))
        if shallow:
            (git.directory / "shallow").write_text("".join(f"{commit}\n" for commit in shallow), encoding="ascii")
        for branch, commit in heads.items():
            await git.run("update-ref", f"refs/heads/{branch}", commit)
        missing = await missing_objects(git, heads.values())
        if missing:
            # As git itself does it for a checkout (promisor-remote.c): one request with all wants.
            await self._talk(
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                *self._filter,
                "--stdin",
                _NAME,
                options=("fetch.negotiationAlgorithm=noop",),
                stdin="".join(f"{name}\n" for name in missing).encode(),
            )

    async def _create(self) -> None:
        if not self.directory.exists():
            self.directory.mkdir(mode=0o700, parents=True)
            await self.git.run("init", "--quiet", "--bare", "--template=")
        (self.directory / "config").write_text(_CONFIG, encoding="ascii")

    async def _heads(self, references: Mapping[str, str]) -> dict[str, str]:
        listing = await self.git.run("for-each-ref", "--format=%(refname) %(objectname)", *references.values())
        known = dict(line.split(" ") for line in listing.splitlines())
        return {branch: known[reference] for branch, reference in references.items() if reference in known}

    async def _boundary(self, tips: list[str]) -> list[str]:
        """The commits whose parents a history of `HISTORY` leaves out."""
        listing = await self.git.run("rev-list", "--parents", *tips, seconds=_SECONDS)
        parents = {commit: rest for commit, *rest in map(str.split, listing.splitlines())}
        level = set(tips)
        if len(level) > 1:
            level |= set((await self.git.run("rev-list", f"{tips[0]}...{tips[1]}", seconds=_SECONDS)).split())
        kept = set(level)
        for _ in range(HISTORY - 1):
            level = {parent for commit in level for parent in parents[commit]} - kept
            kept |= level
        file = self.directory / "shallow"
        cut = set(file.read_text(encoding="ascii").split()) if file.exists() else set()
        return sorted(commit for commit in kept if commit in cut or not kept.issuperset(parents[commit]))

    async def _talk(self, *arguments: str, options: tuple[str, ...] = (), stdin: bytes | None = None) -> None:
        await self._remote.run(
            self.directory, *arguments, options=(f"remote.{_NAME}.url={self._remote.url}", *options), stdin=stdin
        )


async def missing_objects(git: Git, commits: Iterable[str]) -> list[str]:
    """What the history of these commits needs and the repository has not."""
    listing = await git.run(
        "rev-list", "--quiet", "--objects", "--missing=print", *commits, seconds=_SECONDS, limit=_LIST_BYTES
    )
    return [line[1:] for line in listing.splitlines() if line.startswith("?")]
