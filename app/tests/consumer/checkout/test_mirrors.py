"""Mirrors save fetches, show nobody anything, and a run goes on without them."""

import asyncio
import fcntl
import os
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer.checkouts import BRANCH, Mirrored, files_with, remote_of, unpacked
from git.test_command import running_commands
from sdlc_agents.consumer.checkout.bundle_inspection import BundleLimits
from sdlc_agents.consumer.checkout.remote import Remote, Transport
from sdlc_agents.consumer.checkout.shallow_fetch import DEPTH, HISTORY
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import GitError
from support.lab import Gitea, GiteaRepository
from support.relay import EgressProxy
from support.repositories import bundle, commit, git, make_repository
from support.waiting import until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A repository with a long history, of which nearly every commit changes a file."""
    directory = make_repository(tmp_path / "source", {f"src/{n}.py": f"n = {n}\n" for n in range(40)})
    for number in range(DEPTH + 10):
        commit(directory, {"src/1.py": f"n = {number}\n" * 20}, f"change {number}")
    return directory


@pytest.fixture
async def repository(gitea: Gitea, source: Path) -> GiteaRepository:
    """It, on the forge."""
    repository = await gitea.make_repository()
    await repository.push(source, "main:main")
    return repository


@pytest.fixture
def mirrored(tmp_path: Path) -> Mirrored:
    return Mirrored(tmp_path)


async def take(mirrored: Mirrored, remote: Remote, directory: Path, base: str | None = None) -> Path:
    """One run's fetch; the repository that its runner has."""
    workspace = mirrored.workspace(remote)
    try:
        checkout = await workspace.fetch(BRANCH, base)
        await workspace.pack((checkout.base_branch,))
        return unpacked(workspace, directory)
    finally:
        workspace.remove()


async def test_a_first_run_asks_three_times_and_a_second_once(
    repository: GiteaRepository, mirrored: Mirrored, proxy: EgressProxy, source: Path, tmp_path: Path
) -> None:
    remote = remote_of(repository, proxy=proxy.url)
    await take(mirrored, remote, tmp_path / "first")
    assert len(proxy.asked) == 3, "the list of branches, the commits with their trees, the files of all in one"
    proxy.asked.clear()
    second = await take(mirrored, remote, tmp_path / "second")
    assert len(proxy.asked) == 1
    assert mirrored.counted() == {"miss": 1, "hit": 1}
    assert git(second, "rev-parse", "main") == git(source, "rev-parse", "HEAD")
    assert git(second, "rev-list", "--count", "main") == str(HISTORY)
    assert git(second, "show", "main:src/1.py") == (source / "src/1.py").read_text().strip()


async def make_default(repository: GiteaRepository, branch: str) -> None:
    async def done() -> bool:
        # Gitea answers 500 (`already in queue`) while it is still at work on the last push to the default branch.
        answer = await repository.call("PATCH", "", {"default_branch": branch}, accept=(500,))
        return bool(answer.get("default_branch") == branch)

    await until(done, 30)


async def test_what_is_new_on_the_forge_is_followed(
    repository: GiteaRepository, mirrored: Mirrored, source: Path, tmp_path: Path
) -> None:
    remote = remote_of(repository)
    await take(mirrored, remote, tmp_path / "0")
    new = commit(source, {"src/new.py": "new\n"})
    await repository.push(source, "main:main")
    assert git(await take(mirrored, remote, tmp_path / "1"), "rev-parse", "main") == new
    git(source, "checkout", "--quiet", "--orphan", "other")
    forced = commit(source, {"src/other.py": "other\n"})
    await repository.push(source, "other:main")
    assert git(await take(mirrored, remote, tmp_path / "2"), "rev-parse", "main") == forced
    # A default branch whose name stands in the way of the old one's.
    await repository.push(source, "other:refs/heads/trunk")
    await make_default(repository, "trunk")
    await repository.push(source, ":main", "other:refs/heads/main/line")
    await make_default(repository, "main/line")
    assert git(await take(mirrored, remote, tmp_path / "3"), "rev-parse", "main/line") == forced
    assert mirrored.counted() == {"miss": 1, "hit": 3}


async def test_a_ticket_branch_is_complete_back_to_where_it_parted(
    repository: GiteaRepository, mirrored: Mirrored, source: Path, tmp_path: Path
) -> None:
    git(source, "checkout", "--quiet", "-b", BRANCH)
    for number in range(HISTORY + 5):
        head = commit(source, {"work.txt": str(number)})
    await repository.push(source, f"{BRANCH}:{BRANCH}")
    workspace = mirrored.workspace(remote_of(repository))
    checkout = await workspace.fetch(BRANCH, None)
    assert (checkout.start_commit, checkout.branch_commit) == (head, head)
    await workspace.pack(("main", BRANCH))
    runner = unpacked(workspace, tmp_path / "runner")
    assert git(runner, "rev-list", "--count", f"main..{BRANCH}") == str(HISTORY + 5)
    assert git(runner, "merge-base", "main", BRANCH) == git(source, "rev-parse", "main")


async def test_a_result_made_on_a_mirror_is_accepted_and_pushed(
    repository: GiteaRepository, mirrored: Mirrored, source: Path
) -> None:
    workspace = mirrored.workspace(remote_of(repository))
    checkout = await workspace.fetch(BRANCH, None)
    git(source, "checkout", "--quiet", "-b", BRANCH)
    # A file as it was long ago: the consumer has no such content, the result brings it.
    made = commit(source, {"src/1.py": git(source, "show", f"HEAD~{HISTORY + 5}:src/1.py"), "b.txt": "b"})
    bundle(source, workspace.incoming, f"main..{BRANCH}")
    assert await workspace.accept(BRANCH, checkout.start_commit, BundleLimits(bundle_bytes=10**6)) == made
    assert "2 files changed" in await workspace.summary(checkout.start_commit)
    await workspace.push(BRANCH)
    assert await repository.head(BRANCH) == made
    workspace.remove()


async def test_a_mirror_shows_nothing_to_a_token_that_may_not_read_the_repository(
    repository: GiteaRepository, mirrored: Mirrored, gitea: Gitea, tmp_path: Path
) -> None:
    await take(mirrored, remote_of(repository), tmp_path / "allowed")
    _, token = await gitea.make_user("write:repository")
    with pytest.raises(RunFailedError, match="may not see it"):
        await take(mirrored, remote_of(repository, token=token), tmp_path / "refused")


async def test_a_forge_without_filters_sends_everything(mirrored: Mirrored, source: Path, tmp_path: Path) -> None:
    remote = Remote(f"file://{source}", None, Transport(protocols=("file",)))
    runner = await take(mirrored, remote, tmp_path / "runner")
    assert git(runner, "rev-list", "--count", "main") == str(HISTORY)
    assert mirrored.counted() == {"miss": 1}


def cut(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-40])


def spoil(path: Path) -> None:
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 60] = b"x" * 60
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "spoilt", "no objects", "locked", "half made"])
async def test_a_broken_mirror_is_made_anew_and_the_run_goes_on(
    repository: GiteaRepository, mirrored: Mirrored, source: Path, tmp_path: Path, damage: str
) -> None:
    remote = remote_of(repository)
    await take(mirrored, remote, tmp_path / "before")
    (mirror,) = mirrored.present()
    packs = list((mirror / "objects" / "pack").glob("*.pack"))
    match damage:
        case "cut":
            for pack in packs:
                cut(pack)
        case "spoilt":
            for pack in packs:
                spoil(pack)
        case "no objects":
            for pack in packs:
                pack.unlink()
        case "locked":
            (mirror / "shallow.lock").touch()
        case "half made":
            (mirror / "HEAD").unlink()
    new = commit(source, {"src/new.py": "new\n"})
    await repository.push(source, "main:main")
    assert git(await take(mirrored, remote, tmp_path / "after"), "rev-parse", "main") == new
    assert git(await take(mirrored, remote, tmp_path / "again"), "rev-parse", "main") == new
    (mirror,) = mirrored.present()
    git(mirror, "fsck", "--connectivity-only")


async def test_a_mirror_that_cannot_be_written_is_done_without(
    repository: GiteaRepository, mirrored: Mirrored, tmp_path: Path
) -> None:
    (tmp_path / "mirrors").write_text("not a directory")
    await take(mirrored, remote_of(repository), tmp_path / "runner")
    assert mirrored.counted() == {"bypass": 1}


async def test_a_mirror_whose_disk_is_full_leaves_nothing(mirrored: Mirrored) -> None:
    tries = []

    async def full(directory: Path) -> None:
        tries.append(directory)
        await asyncio.to_thread(directory.mkdir)
        raise GitError("git fetch failed: fatal: write error: No space left on device")

    assert await mirrored.mirrors.use("https://forge.example.test/a/b.git", full) is None
    assert len(tries) == 1
    assert mirrored.present() == []


async def test_the_least_recently_used_goes_first_and_none_in_use(tmp_path: Path) -> None:
    mirrored = Mirrored(tmp_path, max_bytes=2_500_000)

    async def fill(directory: Path) -> None:
        pack = directory / "objects" / "pack" / "p.pack"
        pack.parent.mkdir(parents=True, exist_ok=True)
        pack.write_bytes(b"x" * 1_000_000)

    async def use(url: str) -> Path:
        mirror = await mirrored.mirrors.use(url, fill)
        assert mirror is not None
        mirror.close()
        return mirror.directory

    held = await mirrored.mirrors.use("a", fill)
    assert held is not None
    second = await use("b")
    third = await use("c")
    assert held.directory.exists(), "it is in use"
    assert not second.exists()
    assert third.exists()
    held.close()
    await use("c")
    fourth = await use("d")
    assert not held.directory.exists()
    assert third.exists()
    assert fourth.exists()
    sizes = mirrored.registry.get_sample_value("sdlc_agent_mirror_bytes")
    assert sizes is not None
    assert 2_000_000 <= sizes <= 2_500_000


def many_packs(packs: int = 61) -> Callable[[Path], Awaitable[None]]:
    """Fills a mirror with more packs than one may have, each new when the mirror is."""

    async def fill(directory: Path) -> None:
        place = directory / "objects" / "pack"
        if not place.exists():
            place.mkdir(parents=True)
            for number in range(packs):
                (place / f"{uuid.uuid4().hex}-{number}.pack").write_bytes(b"x" * 1000)

    return fill


def may_be_removed(directory: Path) -> bool:
    """Whether nobody holds the mirror."""
    lock = os.open(directory.with_suffix(".use"), os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


async def test_a_mirror_of_too_many_packs_that_others_use_stays_until_all_are_done(tmp_path: Path) -> None:
    mirrors = Mirrored(tmp_path).mirrors
    first = await mirrors.use("a", many_packs())
    second = await mirrors.use("a", many_packs())
    assert first is not None
    assert second is not None
    packs = set(second.directory.glob("objects/pack/*"))
    first.close()
    assert not may_be_removed(second.directory), "the second still uses it"
    third = await mirrors.use("a", many_packs())
    assert third is not None
    assert set(second.directory.glob("objects/pack/*")) == packs, "the second has borrowed them"
    second.close()
    third.close()
    last = await mirrors.use("a", many_packs(1))
    assert last is not None
    assert len(list(last.directory.glob("objects/pack/*"))) == 1, "it is made anew when nobody uses it"
    last.close()


async def test_a_mirror_that_cannot_be_removed_is_still_held(tmp_path: Path) -> None:
    mirrors = Mirrored(tmp_path).mirrors
    first = await mirrors.use("a", many_packs(1))
    second = await mirrors.use("a", many_packs(1))
    assert first is not None
    assert second is not None
    assert not second.discard(), "the first uses it"
    first.close()
    assert not may_be_removed(second.directory)
    assert second.discard()
    second.close()
    assert may_be_removed(second.directory)


async def test_a_use_that_is_cancelled_before_it_has_made_room_holds_nothing(tmp_path: Path) -> None:
    mirrored = Mirrored(tmp_path)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    go_on, directories = threading.Event(), []

    async def fill(directory: Path) -> None:
        await many_packs(1)(directory)
        directories.append(directory)
        # Making room, which comes next, waits behind this.
        loop.run_in_executor(None, go_on.wait, 30)

    async def filled() -> bool:
        return bool(directories)

    using = asyncio.create_task(mirrored.mirrors.use("a", fill))
    await until(filled)
    assert not may_be_removed(directories[0])
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert may_be_removed(directories[0])
    go_on.set()


async def test_a_use_holds_its_mirror_although_no_room_can_be_made(tmp_path: Path) -> None:
    mirrored = Mirrored(tmp_path)
    mirrored.directory.mkdir()
    (mirrored.directory / "broken.use").symlink_to("nowhere")
    with capture_logs() as logs:
        mirror = await mirrored.mirrors.use("a", many_packs(1))
    assert mirror is not None
    assert [entry["log_level"] for entry in logs if entry["event"] == "mirror_eviction_failed"] == ["warning"]
    assert mirrored.counted() == {"miss": 1}
    assert not may_be_removed(mirror.directory)
    mirror.close()
    assert may_be_removed(mirror.directory)


async def test_several_runs_share_a_mirror_at_the_same_time(
    repository: GiteaRepository, mirrored: Mirrored, tmp_path: Path
) -> None:
    remote = remote_of(repository)
    await asyncio.gather(*(take(mirrored, remote, tmp_path / str(number)) for number in range(4)))
    assert mirrored.counted() == {"miss": 1, "hit": 3}


async def test_a_lock_is_waited_for_within_a_bound_and_dies_with_its_holder(
    repository: GiteaRepository, tmp_path: Path
) -> None:
    mirrored = Mirrored(tmp_path, wait_seconds=0.3)
    remote = remote_of(repository)
    await take(mirrored, remote, tmp_path / "0")
    (mirror,) = mirrored.present()
    program = "import fcntl,sys,time; f=open(sys.argv[1]); fcntl.flock(f, 2); print(flush=True); time.sleep(99)"
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, mirror.with_suffix(".write"), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    await take(mirrored, remote, tmp_path / "1")
    assert mirrored.counted() == {"miss": 1, "bypass": 1}
    holder.kill()
    await holder.wait()
    await take(mirrored, remote, tmp_path / "2")
    assert mirrored.counted() == {"miss": 1, "bypass": 1, "hit": 1}


async def test_nothing_in_a_mirror_runs_and_its_configuration_is_ours(
    repository: GiteaRepository, mirrored: Mirrored, source: Path, tmp_path: Path
) -> None:
    remote = remote_of(repository)
    await take(mirrored, remote, tmp_path / "0")
    (mirror,) = mirrored.present()
    trace = tmp_path / "trace"
    (mirror / "hooks").mkdir(exist_ok=True)
    for hook in ("reference-transaction", "post-checkout", "post-merge", "pre-auto-gc", "post-update"):
        path = mirror / "hooks" / hook
        path.write_text(f"#!/bin/sh\necho {hook} >> {trace}\n")
        path.chmod(0o755)
    with (mirror / "config").open("a") as config:
        config.write(f"[core]\n\thooksPath = {mirror}/hooks\n\tfsmonitor = echo fsmonitor >> {trace}\n")
        config.write(f'[remote "forge"]\n\tuploadpack = echo uploadpack >> {trace}\n')
    commit(source, {"src/new.py": "new\n"})
    await repository.push(source, "main:main")
    await take(mirrored, remote, tmp_path / "1")
    assert not trace.exists(), trace.read_text()
    assert "hooksPath" not in (mirror / "config").read_text()


async def test_the_token_is_in_no_file_and_no_argument(
    repository: GiteaRepository, mirrored: Mirrored, gitea: Gitea
) -> None:
    seen: set[str] = set()

    async def watch() -> None:
        while True:
            seen.update(running_commands())
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    workspace = mirrored.workspace(remote_of(repository))
    await workspace.fetch(BRANCH, None)
    await workspace.pack(("main",))
    watching.cancel()
    token = gitea.bot_token
    assert any(repository.url in line and "fetch" in line for line in seen), "the watch saw nothing"
    assert not [line for line in seen if token in line]
    assert not files_with(token, mirrored.directory)
    assert not files_with(token, workspace.outgoing.parent)
