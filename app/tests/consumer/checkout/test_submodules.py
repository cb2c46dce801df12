"""Submodules: those of the same forge can be read, no other is ever asked, and none becomes part of a result."""

from pathlib import Path

import httpx
import pytest

from consumer.checkouts import BRANCH, Mirrored, files_with, remote_of
from git.test_command import running_commands
from sdlc_agents.consumer.checkout.submodules import resolve
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.projects.policies import AgentPolicy
from support.agents import StartConsumer
from support.lab import Gitea, GiteaRepository
from support.relay import EgressProxy
from support.repositories import git, make_repository
from support.world import World, bash

pytestmark = pytest.mark.timeout(120)

SUPERPROJECT = "https://forge.example.test/team/shop.git"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("../lib.git", "https://forge.example.test/team/lib.git"),
        ("../../other/lib", "https://forge.example.test/other/lib"),
        ("./../lib.git", "https://forge.example.test/team/lib.git"),
        ("https://forge.example.test/team/lib.git", "https://forge.example.test/team/lib.git"),
        ("https://FORGE.example.test/team/lib", "https://FORGE.example.test/team/lib"),
    ],
)
def test_addresses_on_the_same_forge_are_found(url: str, expected: str) -> None:
    assert resolve(url, SUPERPROJECT, "lib") == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://elsewhere.example.test/team/lib.git",
        "https://forge.example.test:8443/team/lib.git",
        "https://forge.example.test@elsewhere.example.test/lib.git",
        "https://user:secret@forge.example.test/team/lib.git",
        "http://forge.example.test/team/lib.git",
        "git://forge.example.test/team/lib.git",
        "ssh://git@forge.example.test/team/lib.git",
        "git@forge.example.test:team/lib.git",
        "file:///etc",
        "/etc",
        "ext::sh -c 'touch /tmp/x'",
        "--upload-pack=touch /tmp/x",
        "../../../../elsewhere.example.test/lib.git",
        "../../../lib",
        "https://forge.example.test/team/../lib.git",
        "https://forge.example.test/team/%2e%2e/lib.git",
        "https://forge.example.test/team/lib.git?x=y",
        "https://[forge/team/lib.git",
        "../lib.git\nhttps://elsewhere.example.test/",
    ],
)
def test_every_other_address_is_refused(url: str) -> None:
    with pytest.raises(RunFailedError, match=r"switch agent\.submodules off") as caught:
        resolve(url, SUPERPROJECT, "lib")
    assert caught.value.outcome == "submodule_refused"


async def make_superproject(gitea: Gitea, directory: Path, url: str | None = None, more: str = "") -> GiteaRepository:
    """A repository with a submodule at `lib`, which has one of its own."""
    inner = await gitea.make_repository({"lib.txt": "from the library\n"})
    made = make_repository(directory / "inner", {"lib.txt": "from the library\n"})
    git(made, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},nested")
    git(made, "commit", "--quiet", "--message=nested")
    await inner.push(made, "main:main")
    outer = await gitea.make_repository()
    source = make_repository(directory / "outer")
    modules = f'[submodule "l"]\n\tpath = lib\n\turl = {url or f"../{inner.name}.git"}\n{more}'
    (source / ".gitmodules").write_text(modules)
    git(source, "update-index", "--add", "--cacheinfo", f"160000,{git(made, 'rev-parse', 'HEAD')},lib")
    git(source, "add", ".gitmodules")
    git(source, "commit", "--quiet", "--message=submodule")
    await outer.push(source, "main:main")
    return outer


async def lent(workspace_of: Mirrored, repository: GiteaRepository, proxy: EgressProxy) -> Path:
    """What a runner gets, as a repository."""
    workspace = workspace_of.workspace(remote_of(repository, proxy=proxy.url))
    checkout = await workspace.fetch(BRANCH, None)
    async with httpx.AsyncClient() as client:
        await workspace.borrow(AgentPolicy(submodules=True), checkout.start_commit, client, lfs_mb=1)
    await workspace.pack(("main",))
    directory = workspace.outgoing.parent / "runner"
    directory.mkdir()
    git(directory, "init", "--quiet", "--bare")
    (directory / "shallow").write_text("".join(f"{name}\n" for name in checkout.shallow))
    git(directory, "fetch", "--quiet", str(workspace.outgoing), "+refs/*:refs/*")
    return directory


async def test_a_submodules_files_travel_at_the_recorded_commit_and_the_token_does_not(
    gitea: Gitea, tmp_path: Path, proxy: EgressProxy
) -> None:
    mirrored = Mirrored(tmp_path)
    hostile = f"\tupdate = !touch {tmp_path}/ran\n[core]\n\thooksPath = .\n\tfsmonitor = touch {tmp_path}/ran\n"
    repository = await make_superproject(gitea, tmp_path, more=hostile)
    runner = await lent(mirrored, repository, proxy)
    assert git(runner, "show", "refs/sdlc/borrowed:lib/lib.txt") == "from the library"
    assert not (tmp_path / "ran").exists()
    assert not [line for line in running_commands() if gitea.bot_token in line]
    assert not files_with(gitea.bot_token, tmp_path)


async def test_a_submodule_elsewhere_is_refused_and_never_asked(
    gitea: Gitea, tmp_path: Path, proxy: EgressProxy
) -> None:
    repository = await make_superproject(gitea, tmp_path, "https://elsewhere.example.test/lib.git")
    with pytest.raises(RunFailedError, match=r"lib is at https://elsewhere\.example\.test/lib\.git, which is not on"):
        await lent(Mirrored(tmp_path), repository, proxy)
    assert set(proxy.asked) == {gitea.url.removeprefix("https://")}


async def test_an_agent_reads_a_submodule_and_cannot_change_it(
    world: World, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    repository = await make_superproject(world.gitea, tmp_path)
    await world.developments.register(repository)
    await world.db["projects"].update_one(
        {"jira_project_key": world.developments.project_key}, {"$set": {"agent": {"submodules": True}}}
    )
    commands = (
        "git status --porcelain > status.txt; cp lib/lib.txt seen.txt; echo x >> lib/lib.txt; echo y > lib/new.txt; "
        "git add --force lib/new.txt; true"
    )
    async with start_consumer(MIRROR_DIR=str(tmp_path / "mirrors")) as consumer:
        document = await world.developments.ended(await world.queue(bash(commands)))
        assert 'sdlc_agent_mirror_uses_total{result="miss"} 1.0' in await consumer.metrics()
    assert document["status"] == "completed", document["error_message"]
    branch = document["branch_name"]
    assert await repository.content("seen.txt", branch) == "from the library\n"
    assert "lib" not in await repository.content("status.txt", branch)
    assert "Changes inside submodules were left out: lib." in document["development_details"]
    (before, after) = [(await repository.call("GET", f"/contents/lib?ref={ref}"))["sha"] for ref in ("main", branch)]
    assert before == after
    assert "The files of submodules are in this checkout" in document["prompt"]


async def test_without_the_policy_a_submodule_stays_an_empty_directory(
    world: World, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    repository = await make_superproject(world.gitea, tmp_path)
    await world.developments.register(repository)
    async with start_consumer():
        document = await world.developments.ended(await world.queue(bash("ls -A lib > seen.txt; rmdir lib")))
    assert document["status"] == "completed", document["error_message"]
    assert await repository.content("seen.txt", document["branch_name"]) == ""
    assert (await repository.call("GET", f"/contents/lib?ref={document['branch_name']}"))["type"] == "submodule"
