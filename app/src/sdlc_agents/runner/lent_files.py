"""Files of submodules and of Git LFS in the agent's checkout: there to be read, kept out of what is committed."""

from pathlib import Path

from sdlc_agents.git.command import Git, GitError
from sdlc_agents.git.trees import BORROWED, GITLINK, entries_of, index_lines

_LIST_BYTES = 64 * 1024 * 1024


class BorrowedFiles:
    """Those of one checkout. Without any, it still sees to it that submodules stay as they were recorded."""

    def __init__(self, git: Git, index: Path) -> None:
        self._git = git
        self._over = Git(git.directory, environment={**git.environment, "GIT_INDEX_FILE": str(index)})
        self._links: dict[str, str] = {}
        self._pointers: dict[str, str] = {}
        self._contents: dict[str, str] = {}

    async def note(self, start_commit: str) -> None:
        """Remember the submodules of the commit that is checked out."""
        entries = await entries_of(self._git, start_commit)
        self._links = {entry.path: entry.name for entry in entries if entry.mode == GITLINK}

    async def lay_over(self, start_commit: str) -> None:
        """Write the files that came with the job over the checkout; git sees none of them as a change."""
        await self._over.run("read-tree", BORROWED, seconds=600)
        await self._over.run("checkout-index", "--all", "--force", "--index", seconds=600)
        there = {entry.path: entry.name for entry in await entries_of(self._git, start_commit)}
        for entry in await entries_of(self._git, BORROWED):
            if entry.path in there:
                self._pointers[entry.path] = there[entry.path]
                self._contents[entry.name] = there[entry.path]
        await self._mark("--skip-worktree", self._pointers)
        await self._git.run("update-ref", "-d", BORROWED)

    async def lay_over_again(self) -> None:
        """Write them over a checkout that was put back to what is committed."""
        if self._contents or self._links:
            await self._over.run("checkout-index", "--all", "--force", seconds=600)
        await self._mark("--skip-worktree", self._pointers)

    async def look_again(self) -> None:
        """Let the next `git add` see what became of the LFS files."""
        staged = await self._staged()
        await self._mark("--no-skip-worktree", {path: name for path, name in self._pointers.items() if path in staged})

    async def restore(self) -> None:
        """Put pointers back in place of contents, wherever those are now, and the recorded commits of submodules.

        Raises `GitError` when the agent changed an LFS file.
        """
        staged = await self._staged()
        back = [(mode, self._contents[name], path) for path, (mode, name) in staged.items() if name in self._contents]
        back += [(GITLINK, name, path) for path, name in self._links.items() if staged.get(path) != (GITLINK, name)]
        if back:
            await self._git.run("update-index", "-z", "--index-info", stdin=index_lines(back), seconds=600)
            staged = await self._staged()
        for path, pointer in self._pointers.items():
            if path in staged and staged[path][1] != pointer:
                raise GitError(f"the agent changed {path}, which Git LFS holds: such files can be read but not changed")

    async def left_out(self) -> str:
        """A sentence about changes inside submodules, which are no part of the result; empty without any."""
        root = self._git.directory.resolve()
        # Not where the agent put a link in its place.
        places = [path for path in self._links if (root / path).is_dir() and (root / path).resolve() == root / path]
        if not places:
            return ""
        found = ("--modified", "--deleted", "--others", "--directory")
        paths = (f":(literal){path}" for path in places)
        listing = await self._over.run("ls-files", "-z", *found, "--", *paths, seconds=300, limit=_LIST_BYTES)
        changed = [path for path in places if any(name.startswith(f"{path}/") for name in listing.split("\0"))]
        return f"\n\nChanges inside submodules were left out: {', '.join(changed)}." if changed else ""

    async def _staged(self) -> dict[str, tuple[str, str]]:
        if not self._links and not self._pointers:
            return {}
        listing = await self._git.run("ls-files", "--stage", "-z", seconds=300, limit=_LIST_BYTES)
        facts = (line.partition("\t") for line in listing.split("\0") if line)
        return {path: (fact.split()[0], fact.split()[1]) for fact, _, path in facts}

    async def _mark(self, flag: str, paths: dict[str, str]) -> None:
        if paths:
            stdin = "".join(f"{path}\0" for path in paths).encode()
            await self._git.run("update-index", flag, "-z", "--stdin", stdin=stdin, seconds=300)
