"""Files that a run may read and cannot change: those of submodules and of Git LFS, where the project wants them.

They travel in the run's bundle, as a commit of their own (`BORROWED`) that the runner lays over the checkout. Its
result keeps what the repository has in their place, the recorded commit and the pointers.
"""

from dataclasses import dataclass
from pathlib import Path

import httpx

from sdlc_agents.consumer.checkout.lfs import LfsClient, find_pointers
from sdlc_agents.consumer.checkout.remote import Remote
from sdlc_agents.consumer.checkout.submodules import fetch_submodule, find_submodules
from sdlc_agents.git.command import Git
from sdlc_agents.git.trees import commit_borrowed, entries_of
from sdlc_agents.projects.policies import AgentPolicy

_NOTICE = (
    "The files of {kinds} are in this checkout to be read. Changes inside a submodule are left out of the result, and "
    "a changed Git LFS file makes it fail."
)


@dataclass(frozen=True)
class Borrowed:
    """What was lent: nothing where both are empty."""

    submodules: tuple[str, ...] = ()
    lfs_files: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.submodules or self.lfs_files)

    @property
    def notice(self) -> str:
        """What the agent is told. No path: those are the repository's words."""
        kinds = [
            *(["submodules"] if self.submodules else []),
            *(["Git LFS"] if self.lfs_files else []),
        ]
        return _NOTICE.format(kinds=" and of ".join(kinds)) if kinds else ""


async def borrow(
    git: Git,
    directory: Path,
    commit: str,
    remote: Remote,
    policy: AgentPolicy,
    client: httpx.AsyncClient,
    *,
    lfs_mb: int,
) -> Borrowed:
    """Fetch what the policy wants into `git`, with what that needs below `directory`. Raises `RunFailedError`."""
    if not policy.submodules and not policy.lfs:
        return Borrowed()
    entries = await entries_of(git, commit)
    submodules = await find_submodules(git, commit, entries, remote) if policy.submodules else []
    alternates = git.directory / "objects" / "info" / "alternates"
    for number, submodule in enumerate(submodules):
        place = directory / f"submodule-{number}.git"
        await fetch_submodule(submodule, place, remote)
        with alternates.open("a") as file:
            file.write(f"{place / 'objects'}\n")
    pointers = await find_pointers(git, entries) if policy.lfs else []
    contents = {}
    if pointers:
        lfs = LfsClient(remote, client, max_bytes=lfs_mb * 1024**2)
        contents = await lfs.store(git, pointers, directory)
    if submodules or pointers:
        await commit_borrowed(
            git,
            directory / "borrowed.index",
            [(submodule.path, submodule.commit) for submodule in submodules],
            [(pointer.mode, contents[pointer.oid], pointer.path) for pointer in pointers],
        )
    return Borrowed(tuple(submodule.path for submodule in submodules), tuple(pointer.path for pointer in pointers))
