"""Borrowed files can be read, moved and deleted; the commit holds pointers and recorded commits all the same."""

from pathlib import Path

import pytest

from sdlc_agents.git.command import Git, GitError
from sdlc_agents.git.trees import BORROWED, commit_borrowed
from sdlc_agents.runner.workspace import JobDirectory, JobWorkspace
from sdlc_agents.runs.protocol import JobRequest
from support.repositories import IDENTITY, git, make_repository

BRANCH = "feature/SHOP-1"
POINTER = "version https://git-lfs.github.com/spec/v1\n"
LARGE = "large " * 1000


class Checkout:
    """A job's checkout, with `big.bin` of Git LFS and the submodule `lib`, as an agent has it."""

    def __init__(self, workspace: JobWorkspace, tree: Path) -> None:
        self.workspace = workspace
        self.tree = tree

    async def committed(self) -> dict[str, str]:
        """Path to object, of the branch's head."""
        await self.workspace.commit("Work")
        lines = git(self.tree, "ls-tree", "-r", BRANCH).splitlines()
        return {line.partition("\t")[2]: line.split()[2] for line in lines}

    def object(self, path: str) -> str:
        """What the start has there."""
        return git(self.tree, "rev-parse", f"main:{path}")


@pytest.fixture
async def checkout(tmp_path: Path) -> Checkout:
    source = make_repository(tmp_path / "source", {"big.bin": POINTER, "other.bin": POINTER + "o\n", "a.txt": "a\n"})
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    git(source, "commit", "--quiet", "--message=submodule")
    library = make_repository(tmp_path / "library", {"lib.txt": "library\n", "deep/x.txt": "x\n"})
    git(source, "fetch", "--quiet", str(library), "main:refs/heads/library")
    blobs = [git(source, "hash-object", "-w", "--stdin", stdin=text.encode()) for text in (LARGE, LARGE + "o")]
    files = [("100644", blobs[0], "big.bin"), ("100644", blobs[1], "other.bin")]
    await commit_borrowed(Git(source), tmp_path / "index", [("lib", "library")], files)
    directory = JobDirectory(tmp_path / "job")
    directory.create()
    git(source, "bundle", "create", "--quiet", str(directory.incoming), "main", BORROWED)
    job = JobRequest(
        job_id="0" * 32,
        prompt="x",
        base_branch="main",
        branch=BRANCH,
        start_commit=git(source, "rev-parse", "main"),
        borrowed=True,
        author_name="a",
        author_email="a@example.test",
        commit_message="x",
        job_token="t" * 20,
        gateway_url="http://gateway",
        model="m",
        max_turns=1,
        timeout_seconds=1,
        max_cost_usd=1,
        tools=("Read",),
    )
    workspace = JobWorkspace(directory, job)
    await workspace.unpack()
    tree = directory.repository
    git(tree, "update-ref", "refs/heads/main", job.start_commit)
    for name, value in IDENTITY.items():
        if name.startswith("GIT_AUTHOR"):
            git(tree, "config", "user." + name.removeprefix("GIT_AUTHOR_").lower(), value)
    return Checkout(workspace, tree)


async def test_the_files_are_there_and_git_sees_no_change(checkout: Checkout) -> None:
    assert (checkout.tree / "big.bin").read_text() == LARGE
    assert (checkout.tree / "lib" / "deep" / "x.txt").read_text() == "x\n"
    assert git(checkout.tree, "status", "--porcelain") == ""
    assert git(checkout.tree, "for-each-ref", BORROWED) == ""
    assert not await checkout.workspace.commit("Work")
    assert checkout.workspace.left_out == ""


async def test_moved_and_copied_files_become_pointers(checkout: Checkout) -> None:
    tree = checkout.tree
    (tree / "copy.bin").write_text(LARGE)
    (tree / "other.bin").rename(tree / "moved.bin")
    found = await checkout.committed()
    assert found["big.bin"] == found["copy.bin"] == checkout.object("big.bin")
    assert found["moved.bin"] == checkout.object("other.bin")
    assert "other.bin" not in found


async def test_files_that_the_agent_added_or_committed_itself_become_pointers(checkout: Checkout) -> None:
    git(checkout.tree, "update-index", "--no-skip-worktree", "big.bin")
    git(checkout.tree, "commit", "--quiet", "--all", "--message=mine")
    found = await checkout.committed()
    assert found["big.bin"] == checkout.object("big.bin")


async def test_a_deleted_file_is_deleted(checkout: Checkout) -> None:
    (checkout.tree / "big.bin").unlink()
    git(checkout.tree, "rm", "--quiet", "--cached", "--sparse", "other.bin")
    (checkout.tree / "other.bin").unlink()
    found = await checkout.committed()
    assert found.keys() == {"a.txt", "lib"}


@pytest.mark.parametrize("text", ["changed", LARGE + "!", ""])
async def test_a_changed_file_is_refused_by_name(checkout: Checkout, text: str) -> None:
    (checkout.tree / "big.bin").write_text(text)
    with pytest.raises(GitError, match=r"the agent changed big\.bin, which Git LFS holds"):
        await checkout.workspace.commit("Work")


async def test_a_pointer_put_back_by_the_agent_is_no_change(checkout: Checkout) -> None:
    (checkout.tree / "big.bin").write_text(POINTER)
    assert not await checkout.workspace.commit("Work")


@pytest.mark.parametrize(
    "how", ["edit", "add", "delete", "replace", "repository", "stage", "link", "link to a directory"]
)
async def test_a_submodule_stays_as_recorded_whatever_is_done_to_it(checkout: Checkout, how: str) -> None:
    tree, lib = checkout.tree, checkout.tree / "lib"
    match how:
        case "edit":
            (lib / "lib.txt").write_text("changed\n")
        case "add":
            (lib / "new.txt").write_text("new\n")
        case "delete":
            git(tree, "rm", "--quiet", "--force", "-r", "lib")
        case "replace":
            git(tree, "rm", "--quiet", "--force", "-r", "--cached", "lib")
            git(tree, "add", "lib")
        case "repository":
            git(lib, "init", "--quiet")
            (lib / ".git" / "config").write_text(f"[core]\n\tfsmonitor = touch {tree}/ran\n\thooksPath = .\n")
            git(lib, "-c", "core.fsmonitor=false", "add", "lib.txt")
            git(lib, "-c", "core.fsmonitor=false", "-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "x")
        case "stage":
            blob = git(tree, "hash-object", "-w", "a.txt")
            git(tree, "update-index", "--add", "--replace", "--cacheinfo", f"100644,{blob},lib/lib.txt")
        case "link":
            git(tree, "rm", "--quiet", "--cached", "lib")
            lib.rename(tree.parent / "away")
            lib.symlink_to("a.txt")
        case "link to a directory":
            lib.rename(tree.parent / "away")
            lib.symlink_to("/")
    found = await checkout.committed()
    assert found == {path: checkout.object(path) for path in ("a.txt", "big.bin", "other.bin", "lib")}
    assert not (tree / "ran").exists()
    if how in {"edit", "add"}:
        assert "Changes inside submodules were left out: lib." in checkout.workspace.left_out
