"""The repository of one job: unpacked from the consumer's bundle, committed, and packed for the way back."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdlc_agents.git.command import Git, GitError
from sdlc_agents.git.trees import BORROWED, GITLINK
from sdlc_agents.runner.lent_files import BorrowedFiles
from sdlc_agents.runs.protocol import JobRequest

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
_START = "refs/sdlc/start"
_CONFIGURED = ("config", "config.worktree", "commondir", "info/attributes")
_PATHS_AT_ONCE = 200
# What tools leave behind and nobody wants in a change, where the repository's own .gitignore does not say so.
_EXCLUDED = "__pycache__/\n*.py[co]\n.pytest_cache/\nnode_modules/\n.DS_Store\n*.swp\n"


@dataclass(frozen=True)
class JobDirectory:
    """Where a job's files are; all below one directory that is empty when the runner starts."""

    root: Path

    @property
    def repository(self) -> Path:
        """The agent's working directory."""
        return self.root / "repository"

    @property
    def home(self) -> Path:
        """HOME of the agent and its tools."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """TMPDIR of the agent and its tools."""
        return self.root / "tmp"

    @property
    def incoming(self) -> Path:
        """The bundle that came with the job."""
        return self.root / "incoming.bundle"

    @property
    def result(self) -> Path:
        """The bundle that goes back."""
        return self.root / "result.bundle"

    def create(self) -> None:
        """Make the directories."""
        for directory in (self.repository, self.home, self.temporary):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def clear(self) -> None:
        """Remove whatever an earlier process left."""
        for entry in self.root.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


class JobWorkspace:
    """Git on the job's repository. The agent may have changed everything in it, `.git` included."""

    def __init__(self, directory: JobDirectory, job: JobRequest) -> None:
        self._directory = directory
        self._job = job
        self._git = Git(directory.repository, protocols=("file",), environment=identity(job))
        self._committed = job.start_commit
        self._borrowed = BorrowedFiles(self._git, directory.root / "borrowed.index")
        self.left_out = ""

    async def unpack(self) -> None:
        """Check the branch out, at the job's start. Raises `GitError`."""
        job = self._job
        await self._git.run("init", "--quiet", "--template=", f"--initial-branch={job.base_branch}")
        if job.shallow:
            shallow = "".join(f"{commit}\n" for commit in job.shallow)
            (self._directory.repository / ".git" / "shallow").write_text(shallow, encoding="ascii")
        references = ["refs/heads/*:refs/remotes/origin/*", *([f"{BORROWED}:{BORROWED}"] if job.borrowed else [])]
        await self._git.run("fetch", "--quiet", str(self._directory.incoming), *references, seconds=600)
        self._exclude()
        await self._git.run("checkout", "--quiet", "--no-track", "-b", job.branch, job.start_commit, seconds=600)
        await self._borrowed.note(job.start_commit)
        if job.borrowed:
            await self._borrowed.lay_over(job.start_commit)
        self._directory.incoming.unlink()

    async def commit(self, message: str) -> bool:
        """Commit what the agent left uncommitted on the branch; whether the branch has anything new."""
        job = self._job
        await self._take_back()
        await self._git.run("update-ref", _START, job.start_commit)
        await self._borrowed.look_again()
        await self._git.run("add", "--all", seconds=600)
        await self._borrowed.restore()
        self.left_out = await self._borrowed.left_out()
        tree = await self._git.run("write-tree", seconds=600)
        if tree != await self._git.run("rev-parse", f"refs/heads/{job.branch}^{{tree}}"):
            await self._git.run("commit", "--quiet", "--no-verify", f"--message={message}", seconds=600)
        self._committed = (await self._git.run("rev-parse", f"refs/heads/{job.branch}^{{commit}}")).strip()
        return bool(await self._git.run("rev-list", "--max-count=1", f"{_START}..refs/heads/{job.branch}"))

    async def restore(self) -> None:
        """Put the branch and the files back to what was committed; what the repository ignores is left as it is."""
        await self._take_back()
        await self._git.run("update-ref", f"refs/heads/{self._job.branch}", self._committed)
        await self._git.run("reset", "--quiet", "--hard", seconds=600)
        await self._git.run("clean", "--quiet", "-ffd", seconds=600)
        await self._borrowed.lay_over_again()

    async def _take_back(self) -> None:
        """Write the repository's configuration anew, and check the branch out, as far as git's records go.

        No filter or other program that the agent (or the repository's own scripts) configured runs from here on.
        """
        dot_git = self._directory.repository / ".git"
        if dot_git.is_symlink() or not dot_git.is_dir():
            raise GitError("the agent replaced the repository's .git directory")
        shutil.rmtree(dot_git / "hooks", ignore_errors=True)
        branch_lock = f"refs/heads/{self._job.branch}.lock"
        # `commondir` would have git read the configuration of another place.
        for name in (*_CONFIGURED, "index.lock", "HEAD.lock", branch_lock):
            (dot_git / name).unlink(missing_ok=True)
        (dot_git / "config").write_text(_CONFIG, encoding="ascii")
        self._exclude()
        await self._detach_submodules()
        # The branch as it is, whatever is checked out now: work on another branch or a detached HEAD is kept too.
        await self._git.run("symbolic-ref", "HEAD", f"refs/heads/{self._job.branch}")

    def _exclude(self) -> None:
        info = self._directory.repository / ".git" / "info"
        if info.is_symlink():
            info.unlink()
        info.mkdir(exist_ok=True)
        # What stands there may be a pipe, on which a write would wait for ever.
        (info / "exclude").unlink(missing_ok=True)
        (info / "exclude").write_text(_EXCLUDED, encoding="ascii")

    async def _detach_submodules(self) -> None:
        """Take `.git` out of every submodule: git looks for changes in it with the configuration that it finds there.

        A submodule without one counts as not checked out, and as unchanged.
        """
        root = self._directory.repository
        found = await asyncio.to_thread(lambda: list(_nested_repositories(root)))
        for start in range(0, len(found), _PATHS_AT_ONCE):
            some = found[start : start + _PATHS_AT_ONCE]
            if await self._holds_submodule(*some):
                for path in some:
                    if await self._holds_submodule(path):
                        _remove(root / path / ".git")

    async def _holds_submodule(self, *paths: str) -> bool:
        """Whether git tracks a submodule at or below one of these paths."""
        listed = await self._git.run("ls-files", "--stage", "-z", "--", *(f":(literal){path}" for path in paths))
        return any(entry.startswith(f"{GITLINK} ") for entry in listed.split("\0"))

    async def pack(self) -> Path:
        """The bundle with the branch's new commits, which needs the start commit to be read."""
        result = self._directory.result
        await self._git.run(
            "bundle", "create", "--quiet", str(result), f"{_START}..refs/heads/{self._job.branch}", seconds=600
        )
        return result


def _nested_repositories(root: Path) -> Iterator[str]:
    """The directories below `root` that hold a `.git`, relative to it; links are not followed."""
    for directory, directories, files in os.walk(root):
        if ".git" in directories:
            directories.remove(".git")
        elif ".git" not in files:
            continue
        if Path(directory) != root:
            yield os.path.relpath(directory, root)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def identity(job: JobRequest) -> dict[str, str]:
    """The environment that makes commits carry the appliance's name."""
    return {
        "GIT_AUTHOR_NAME": job.author_name,
        "GIT_AUTHOR_EMAIL": job.author_email,
        "GIT_COMMITTER_NAME": job.author_name,
        "GIT_COMMITTER_EMAIL": job.author_email,
    }
