"""Hostile bundles are refused, each for its own reason; ordinary work passes."""

import resource
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.consumer.checkout.bundle_inspection import RESULT, BundleLimits, inspect_bundle, leaves_tree
from sdlc_agents.consumer.checkout.remote import Remote, Transport
from sdlc_agents.consumer.checkout.workspace import Workspace
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Git
from support.repositories import bundle, commit, git, make_repository

BRANCH = "feature/SHOP-1"
LIMITS = BundleLimits(bundle_bytes=1024 * 1024)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The repository as the consumer fetched it."""
    return make_repository(tmp_path / "origin", {"README.md": "# A thing\n", "src/a.py": "a = 1\n"})


@pytest.fixture
def start(origin: Path) -> str:
    return git(origin, "rev-parse", "HEAD")


@pytest.fixture
def work(origin: Path, tmp_path: Path) -> Path:
    """The repository as the agent has it, on its branch."""
    git(tmp_path, "clone", "--quiet", str(origin), str(tmp_path / "work"))
    git(tmp_path / "work", "checkout", "--quiet", "-b", BRANCH)
    return tmp_path / "work"


@pytest.fixture
def consumer(origin: Path, tmp_path: Path) -> Git:
    git(tmp_path, "clone", "--quiet", "--bare", str(origin), str(tmp_path / "consumer.git"))
    return Git(tmp_path / "consumer.git")


async def inspect(consumer: Git, work: Path, start: str, *revisions: str, limits: BundleLimits = LIMITS) -> str:
    path = bundle(work, work.parent / "result.bundle", *(revisions or (f"{start}..{BRANCH}",)))
    return await inspect_bundle(consumer, path, branch=BRANCH, start_commit=start, limits=limits)


async def refusal(consumer: Git, work: Path, start: str, *revisions: str, limits: BundleLimits = LIMITS) -> str:
    with pytest.raises(RunFailedError) as caught:
        await inspect(consumer, work, start, *revisions, limits=limits)
    assert caught.value.outcome == "result_refused"
    return caught.value.message


def plant(work: Path, *entries: tuple[str, str, bytes]) -> None:
    """Commit entries that a work tree could not hold: (mode, path, content), written as raw tree objects."""
    lines = []
    for mode, path, content in entries:
        kind = "tree" if mode == "40000" else "commit" if mode == "160000" else "blob"
        name = git(work, "hash-object", "-w", "--stdin", stdin=content) if kind == "blob" else content.decode()
        lines.append((mode, path, name))
    raw = b"".join(f"{mode} {path}".encode() + b"\0" + bytes.fromhex(name) for mode, path, name in sorted(lines))
    tree = git(work, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    parent = git(work, "rev-parse", "HEAD")
    made = git(work, "commit-tree", tree, "-p", parent, "-m", "planted")
    git(work, "update-ref", f"refs/heads/{BRANCH}", made)


async def test_ordinary_work_passes(consumer: Git, work: Path, start: str) -> None:
    commit(work, {"src/b.py": "b = 2\n", "docs/deep/er/c.md": "c"})
    (work / "link").symlink_to("src/a.py")
    (work / "docs" / "up").symlink_to("../README.md")
    (work / "src" / "a.py").unlink()
    head = commit(work, {"README.md": "# Another thing\n"})
    assert await inspect(consumer, work, start) == head
    assert git(consumer.directory, "rev-parse", RESULT) == head


async def test_another_branch_beside_it_is_refused(consumer: Git, work: Path, start: str) -> None:
    commit(work, {"x": "x"})
    git(work, "branch", "--force", "main", "HEAD")
    said = await refusal(consumer, work, start, f"^{start}", BRANCH, "main")
    assert "other references than" in said
    assert git(consumer.directory, "rev-parse", "main") == start


async def test_another_branch_instead_of_it_is_refused(consumer: Git, work: Path, start: str) -> None:
    commit(work, {"x": "x"})
    git(work, "branch", "other")
    assert "other references than" in await refusal(consumer, work, start, f"{start}..other")


async def test_a_rewritten_history_is_refused(consumer: Git, work: Path, start: str) -> None:
    git(work, "checkout", "--quiet", "--orphan", "fresh")
    commit(work, {"x": "x"})
    git(work, "branch", "--force", BRANCH, "fresh")
    assert "does not descend" in await refusal(consumer, work, start, BRANCH)


async def test_an_older_commit_is_refused(consumer: Git, work: Path, origin: Path) -> None:
    newer = commit(origin, {"later": "x"})
    git(consumer.directory, "fetch", "--quiet", str(origin), "+main:main")
    commit(work, {"x": "x"})
    assert "does not descend" in await refusal(consumer, work, newer, BRANCH)


async def test_no_new_commit_is_refused(consumer: Git, work: Path, start: str) -> None:
    assert "nothing new" in await refusal(consumer, work, start, BRANCH)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "src/../../outside", "../../x", "src/../src/../.."])
async def test_a_link_out_of_the_tree_is_refused(consumer: Git, work: Path, start: str, target: str) -> None:
    (work / "link").symlink_to(target)
    commit(work, {})
    assert "leads out of the repository" in await refusal(consumer, work, start)


async def test_a_link_that_is_gone_in_the_end_is_refused_as_well(consumer: Git, work: Path, start: str) -> None:
    (work / "link").symlink_to("/etc/passwd")
    commit(work, {})
    (work / "link").unlink()
    commit(work, {"x": "x"})
    assert "leads out of the repository" in await refusal(consumer, work, start)


async def test_a_submodule_is_refused(consumer: Git, work: Path, start: str) -> None:
    plant(work, ("160000", "module", start.encode()), ("100644", "README.md", b"x"))
    assert "submodule" in await refusal(consumer, work, start)


async def test_a_list_of_submodules_is_refused(consumer: Git, work: Path, start: str) -> None:
    commit(work, {".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = https://git.example/x\n'})
    assert ".gitmodules" in await refusal(consumer, work, start)


@pytest.mark.parametrize(
    "name", [".git", ".GIT", ".Git", "git~1", ".g\u200cit", "\ufeff.git", ".git . .", ".git:stream", "a\\.git"]
)
async def test_something_under_dot_git_is_refused(consumer: Git, work: Path, start: str, name: str) -> None:
    inner = bytes.fromhex(git(work, "hash-object", "-w", "--stdin", stdin=b"[core]\n\tfsmonitor = evil\n"))
    tree = git(work, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=b"100644 config\0" + inner)
    plant(work, ("40000", name, tree.encode()), ("100644", "README.md", b"x"))
    said = await refusal(consumer, work, start)
    assert "under .git" in said or "git cannot read it" in said


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", "x.git", "git~10", ".gitkeep"])
async def test_a_name_that_only_resembles_dot_git_is_taken(consumer: Git, work: Path, start: str, name: str) -> None:
    commit(work, {f"a/{name}": "x"})
    assert await inspect(consumer, work, start) == git(work, "rev-parse", BRANCH)


async def test_a_path_that_climbs_is_refused(consumer: Git, work: Path, start: str) -> None:
    inner = bytes.fromhex(git(work, "hash-object", "-w", "--stdin", stdin=b"x"))
    tree = git(work, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=b"100644 x\0" + inner)
    plant(work, ("40000", "..", tree.encode()))
    said = await refusal(consumer, work, start)
    assert "is none" in said or "git cannot read it" in said


async def test_more_bytes_than_allowed_are_refused(consumer: Git, work: Path, start: str) -> None:
    (work / "big").write_bytes(zlib.compress(b"") + bytes(range(256)) * 10)
    commit(work, {})
    assert "larger than" in await refusal(consumer, work, start, limits=BundleLimits(bundle_bytes=500))


async def test_more_files_than_allowed_are_refused(consumer: Git, work: Path, start: str) -> None:
    commit(work, {f"f{number}": str(number) for number in range(30)})
    limits = BundleLimits(bundle_bytes=LIMITS.bundle_bytes, files=20)
    assert "more than 20 files" in await refusal(consumer, work, start, limits=limits)


async def test_more_commits_than_allowed_are_refused(consumer: Git, work: Path, start: str) -> None:
    for number in range(4):
        commit(work, {"x": str(number)})
    limits = BundleLimits(bundle_bytes=LIMITS.bundle_bytes, commits=3)
    assert "4 commits, more than 3" in await refusal(consumer, work, start, limits=limits)


async def test_a_small_bundle_that_unfolds_into_much_is_read_within_the_memory_limit(
    consumer: Git, work: Path, start: str
) -> None:
    (work / "zeros").write_bytes(bytes(200 * 1024 * 1024))
    commit(work, {})
    limits = BundleLimits(bundle_bytes=LIMITS.bundle_bytes, memory_bytes=64 * 1024 * 1024)
    path = bundle(work, work.parent / "result.bundle", f"{start}..{BRANCH}")
    assert path.stat().st_size < LIMITS.bundle_bytes, "the case is not the one that is meant"
    assert await inspect_bundle(consumer, path, branch=BRANCH, start_commit=start, limits=limits)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": b"1\n2\n", "b": b"3\n"}, "2 files changed, 3 insertions(+)"),
        ({"a": b"\n" * 100 * 1024**2}, "1 file changed, 0 insertions(+), 0 deletions(-)"),
        ({"a": b"\n" * 15 * 1024**2}, "changes not counted"),
    ],
    ids=["ordinary", "not looked into", "too many lines"],
)
async def test_the_changes_are_counted_within_the_memory_limit(
    origin: Path, work: Path, start: str, tmp_path: Path, files: dict[str, bytes], expected: str
) -> None:
    workspace = Workspace(tmp_path / "run", Remote(f"file://{origin}", None, Transport(protocols=("file",))))
    await workspace.fetch(BRANCH, None)
    for name, content in files.items():
        (work / name).write_bytes(content)
    commit(work, {})
    bundle(work, workspace.incoming, f"{start}..{BRANCH}")
    await workspace.accept(BRANCH, start, LIMITS)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert await workspace.summary(start) == expected
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, LIMITS.memory_bytes // 1024)


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"# v2 git bundle\n", b"# v3 git bundle\n@object-format=sha9\n\nPACK"],
    ids=["empty", "nonsense", "no head", "unknown format"],
)
async def test_what_is_no_bundle_is_refused(consumer: Git, tmp_path: Path, start: str, content: bytes) -> None:
    path = tmp_path / "result.bundle"
    path.write_bytes(content)
    with pytest.raises(RunFailedError, match="refused"):
        await inspect_bundle(consumer, path, branch=BRANCH, start_commit=start, limits=LIMITS)


async def test_a_damaged_bundle_is_refused(consumer: Git, work: Path, start: str, tmp_path: Path) -> None:
    commit(work, {"x": "x" * 1000})
    path = bundle(work, tmp_path / "result.bundle", f"{start}..{BRANCH}")
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(RunFailedError, match="git cannot read it"):
        await inspect_bundle(consumer, path, branch=BRANCH, start_commit=start, limits=LIMITS)


steps = st.lists(st.sampled_from(["..", ".", "a", "b", ""]), min_size=1, max_size=6)


@given(st.lists(st.sampled_from(["a", "b"]), max_size=3), steps)
def test_no_link_that_is_let_through_leads_out(directories: list[str], target: list[str]) -> None:
    path = "/".join([*directories, "link"])
    text = "/".join(target)
    if not leaves_tree(path, text):
        place = list(directories)
        for step in target:
            if step == "..":
                assert place, (path, text)
                place.pop()
            elif step not in {"", "."}:
                place.append(step)
