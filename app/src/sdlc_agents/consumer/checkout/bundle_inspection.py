"""What comes back from a runner is checked here before anything is done with it.

The bundle may be anything: the runner ran code of the repository and of the model. It may add commits on top of the
start commit to one branch, of ordinary files, within the limits; everything else is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Git, GitError
from sdlc_agents.git.trees import GITLINK

RESULT = "refs/sdlc/result"
_HEADS = "refs/heads/"
_HASH = 40
_LINK_BYTES = 4096
_ORDINARY = {"100644", "100755"}
_GONE = "000000"
_LINK = "120000"
_SECONDS = 300.0
_UNPACKED_BYTES = 2 * 1024**3
_MEMORY_BYTES = 1024**3
_PASSED_OVER = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
# index-pack holds objects in memory: a small pack can unfold into a large one.
_STRICT = (
    "transfer.fsckObjects=true",
    "fetch.fsckObjects=true",
    "core.bigFileThreshold=16m",
    "pack.threads=1",
    "core.deltaBaseCacheLimit=32m",
    "core.packedGitWindowSize=32m",
    "core.packedGitLimit=256m",
)


@dataclass(frozen=True)
class BundleLimits:
    """What one result may be. `lfs_files` may be deleted, and nothing else."""

    bundle_bytes: int
    unpacked_bytes: int = _UNPACKED_BYTES
    memory_bytes: int = _MEMORY_BYTES
    commits: int = 500
    files: int = 20_000
    lfs_files: tuple[str, ...] = ()


def refused(message: str) -> RunFailedError:
    """The agent's work cannot be published."""
    return RunFailedError(f"the agent's result was refused: {message}", outcome="result_refused")


def confined(git: Git, *, memory_bytes: int = _MEMORY_BYTES, file_bytes: int = _UNPACKED_BYTES) -> Git:
    """The same repository for work on what a runner brought: memory, time and the files that it writes are bounded."""
    return Git(
        git.directory,
        protocols=("file",),
        options=_STRICT,
        environment=git.environment,
        prefix=("prlimit", f"--as={memory_bytes}", f"--fsize={file_bytes}", f"--cpu={int(_SECONDS)}"),
    )


async def inspect_bundle(git: Git, bundle: Path, *, branch: str, start_commit: str, limits: BundleLimits) -> str:
    """The commit that the bundle brings for `branch`, now also `RESULT` in the repository.

    Raises `RunFailedError` with the reason when it is not what it may be.
    """
    if bundle.stat().st_size > limits.bundle_bytes:  # noqa: ASYNC240 - one stat
        raise refused(f"it is larger than {limits.bundle_bytes // 1024**2} MiB")
    git = confined(git, memory_bytes=limits.memory_bytes, file_bytes=limits.unpacked_bytes)
    try:
        heads = (await git.run("bundle", "list-heads", str(bundle))).splitlines()
        if [head.partition(" ")[2] for head in heads] != [_HEADS + branch]:
            raise refused(f"it holds other references than {branch}")
        await git.run(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            str(bundle),
            f"+{_HEADS}{branch}:{RESULT}",
            seconds=_SECONDS,
        )
        commit = (await git.run("rev-parse", "--verify", f"{RESULT}^{{commit}}")).strip()
        await _check_history(git, start_commit, commit, limits)
        await _check_changes(git, start_commit, commit, limits)
    except GitError as error:
        raise refused(f"git cannot read it: {error.message}") from error
    return commit


async def _check_history(git: Git, start: str, result: str, limits: BundleLimits) -> None:
    if start == result:
        raise refused("it brings nothing new")
    # Of all that the result has and the start has not, nothing; and the start is among its ancestors.
    if (await git.run("merge-base", start, result, accept=(0, 1))).strip() != start:
        raise refused(f"it does not descend from {start[:12]}, where the work began")
    count = int(await git.run("rev-list", "--count", f"{start}..{result}"))
    if count > limits.commits:
        raise refused(f"it has {count} commits, more than {limits.commits}")


async def _check_changes(git: Git, start: str, result: str, limits: BundleLimits) -> None:
    raw = await git.run(
        "log",
        "-m",
        "--raw",
        "-z",
        "--no-abbrev",
        "--no-renames",
        "--no-ext-diff",
        "--format=",
        f"{start}..{result}",
        seconds=_SECONDS,
    )
    links: list[tuple[str, str]] = []
    lfs_files = frozenset(limits.lfs_files)
    for number, (former, mode, blob, path) in enumerate(_entries(raw), start=1):
        if number > limits.files:
            raise refused(f"it changes more than {limits.files} files")
        _check_path(path)
        _check_kind(former, mode, path)
        if mode != _GONE and path in lfs_files:
            raise refused(f"it changes {path}, which Git LFS holds: such files can be read but not changed")
        if mode == _LINK:
            links.append((path, blob))
    for path, blob in links:
        size = int(await git.run("cat-file", "-s", blob))
        if size > _LINK_BYTES:
            raise refused(f"the target of the symbolic link {path} is {size} bytes long")
        target = await git.run("cat-file", "blob", blob)
        if leaves_tree(path, target):
            raise refused(f"the symbolic link {path} leads out of the repository")


def _entries(raw: str) -> Iterator[tuple[str, str, str, str]]:
    """(old mode, new mode, new object, path) of `git log --raw -z`: `:old new oldhash newhash status NUL path NUL`."""
    fields = iter(raw.split("\0"))
    for entry in fields:
        if not entry.strip("\n"):
            continue
        parts = entry.strip("\n").removeprefix(":").split(" ")
        path = next(fields, "")
        if len(parts) != 5 or len(parts[3]) < _HASH or not path:  # noqa: PLR2004
            raise refused("its list of changes cannot be read")
        yield parts[0], parts[1], parts[3], path


def _check_kind(former: str, mode: str, path: str) -> None:
    if former == GITLINK:
        raise refused(f"it changes the submodule {path}")
    if mode == GITLINK:
        raise refused(f"it adds a submodule or a repository inside the repository ({path})")
    if mode not in {_GONE, _LINK, *_ORDINARY}:
        raise refused(f"{path} has the mode {mode}")


def _check_path(path: str) -> None:
    steps = path.split("/")
    if any(step in {"", ".", ".."} for step in steps) or any(ord(letter) < 32 for letter in path):  # noqa: PLR2004
        raise refused(f"it has a path that is none: {path[:200]!r}")
    names = [_as_read_elsewhere(name) for step in steps for name in step.split("\\")]
    if not {".git", "git~1"}.isdisjoint(names):
        raise refused(f"it changes {path!r}, under .git")
    if names[0] in {".gitmodules", "gitmod~1"}:
        raise refused("it changes .gitmodules: submodules are not supported")


def _as_read_elsewhere(name: str) -> str:
    """A name as the least careful of file systems takes it: macOS passes over some letters, Windows over an end.

    https://github.com/git/git/blob/master/path.c (is_ntfs_dotgit), https://github.com/git/git/blob/master/utf8.c
    (is_hfs_dotgit)
    """
    return name.translate(_PASSED_OVER).partition(":")[0].rstrip(" .").casefold()


def leaves_tree(path: str, target: str) -> bool:
    """Whether a symbolic link at `path` could lead out of the tree.

    Steps up may stand only at the beginning, at most as many as the link is deep: further in, they might follow
    another link first.
    """
    steps = [step for step in target.split("/") if step not in {"", "."}]
    ups = 0
    while ups < len(steps) and steps[ups] == "..":
        ups += 1
    depth = len(PurePosixPath(path).parts) - 1
    return not target or target.startswith("/") or "\0" in target or ups > depth or ".." in steps[ups:]
