"""Listing a commit's tree, and a commit made of files that are lent to a runner beside it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sdlc_agents.git.command import Git

BORROWED = "refs/sdlc/borrowed"
GITLINK = "160000"
_LIST_BYTES = 64 * 1024 * 1024
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "SDLC AI Agents"), ("EMAIL", "sdlc-agents@localhost"), ("DATE", "@0 +0000"))
}


@dataclass(frozen=True)
class TreeEntry:
    """A file, a link or a submodule. `size` is None for what is no file."""

    mode: str
    name: str
    size: int | None
    path: str


async def entries_of(git: Git, commit: str) -> list[TreeEntry]:
    """Everything below the commit's tree."""
    listing = await git.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit, seconds=300, limit=_LIST_BYTES)
    found = []
    for line in filter(None, listing.split("\0")):
        facts, _, path = line.partition("\t")
        mode, _, name, size = facts.split()
        found.append(TreeEntry(mode, name, None if size == "-" else int(size), path))
    return found


def index_lines(entries: Iterable[tuple[str, str, str]]) -> bytes:
    """(mode, object, path), as `update-index -z --index-info` reads them."""
    return "".join(f"{mode} {name}\t{path}\0" for mode, name, path in entries).encode()


async def commit_borrowed(
    git: Git, index: Path, trees: Iterable[tuple[str, str]], files: Iterable[tuple[str, str, str]]
) -> None:
    """Make `BORROWED`: trees, as (path, commit), and files, as (mode, object, path)."""
    borrowing = Git(git.directory, environment={**_IDENTITY, "GIT_INDEX_FILE": str(index)})
    for path, commit in trees:
        await borrowing.run("read-tree", "-i", f"--prefix={path}/", commit, seconds=300)
    await borrowing.run("update-index", "--add", "-z", "--index-info", stdin=index_lines(files), seconds=300)
    tree = (await borrowing.run("write-tree", seconds=300)).strip()
    commit = (await borrowing.run("commit-tree", "-m", "Borrowed files", tree)).strip()
    await git.run("update-ref", BORROWED, commit)
