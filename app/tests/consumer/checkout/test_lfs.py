"""Git LFS: files are checked against their pointers, the token stays at the forge, and pointers stay pointers."""

import base64
import hashlib
import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from sdlc_agents.consumer.checkout.lfs import LfsClient, Pointer, find_pointers
from sdlc_agents.consumer.checkout.remote import Remote, Transport
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Credentials, Git
from sdlc_agents.git.trees import entries_of
from support.agents import StartConsumer
from support.lab import Gitea, GiteaRepository
from support.repositories import git, make_repository
from support.world import World, bash

pytestmark = pytest.mark.timeout(120)

CONTENT = b"\x00\x01large" * 1000
OID = hashlib.sha256(CONTENT).hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize {len(CONTENT)}\n"
TOKEN = "a-token-that-nobody-may-see"
BASIC = base64.b64encode(f"sdlc-agents:{TOKEN}".encode()).decode()
REMOTE = Remote(
    "https://forge.example.test/team/shop.git",
    Credentials("https://forge.example.test", "sdlc-agents", TOKEN),
    Transport(),
)


async def upload(repository: GiteaRepository) -> None:
    """Give the content to the forge's LFS server, as `git lfs push` does."""
    gitea = repository.gitea
    async with httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=gitea.ca_file), trust_env=False, auth=("lab-admin", gitea.admin_token)
    ) as client:
        media = {"Accept": "application/vnd.git-lfs+json", "Content-Type": "application/vnd.git-lfs+json"}
        batch = await client.post(
            f"{repository.url}.git/info/lfs/objects/batch",
            headers=media,
            json={"operation": "upload", "transfers": ["basic"], "objects": [{"oid": OID, "size": len(CONTENT)}]},
        )
        actions = batch.raise_for_status().json()["objects"][0].get("actions")
        if actions is None:
            return  # another test's repository has it, and Gitea keeps one of each
        link = actions["upload"]
        address = httpx.URL(link["href"]).copy_with(scheme="https")
        (await client.put(address, content=CONTENT, headers=link.get("header", {}))).raise_for_status()


async def make_lfs_repository(gitea: Gitea) -> GiteaRepository:
    repository = await gitea.make_repository({"big.bin": POINTER, ".gitattributes": "*.bin filter=lfs -text\n"})
    await upload(repository)
    return repository


async def run(world: World, start_consumer: StartConsumer, commands: str, **settings: str) -> dict[str, Any]:
    """A development of a project that wants LFS, once it ended."""
    await world.db["projects"].update_one(
        {"jira_project_key": world.developments.project_key}, {"$set": {"agent": {"lfs": True}}}
    )
    async with start_consumer(**settings):
        return await world.developments.ended(await world.queue(bash(commands)))


async def test_an_agent_reads_the_contents_and_the_result_keeps_the_pointers(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await make_lfs_repository(world.gitea)
    await world.developments.register(repository)
    document = await run(
        world,
        start_consumer,
        "sha256sum big.bin > seen.txt; git status --porcelain > status.txt; cp big.bin copy.bin; git add -A",
    )
    assert document["status"] == "completed", document["error_message"]
    branch = document["branch_name"]
    assert OID in await repository.content("seen.txt", branch)
    assert "big.bin" not in await repository.content("status.txt", branch)
    assert await repository.content("big.bin", branch) == POINTER
    assert await repository.content("copy.bin", branch) == POINTER
    assert world.gitea.bot_token not in world.logs()


async def test_a_changed_lfs_file_makes_the_run_fail_and_says_so(world: World, start_consumer: StartConsumer) -> None:
    await world.developments.register(await make_lfs_repository(world.gitea))
    document = await run(world, start_consumer, "echo more >> big.bin")
    assert document["status"] == "failed"
    assert "the agent changed big.bin, which Git LFS holds" in document["error_message"]


async def test_files_past_the_limit_are_not_fetched(world: World, start_consumer: StartConsumer) -> None:
    large = POINTER.replace(f"size {len(CONTENT)}", f"size {3 * 1024**2}")
    await world.developments.register(await world.gitea.make_repository({"big.bin": large}))
    document = await run(world, start_consumer, "true", LFS_MAX_MB="2")
    assert document["outcome"] == "lfs_failed"
    assert "more than the 2 MiB that a run gets" in document["error_message"]


async def test_only_whole_pointers_are_taken_for_some(tmp_path: Path) -> None:
    other = git(make_repository(tmp_path / "r", {"plain.txt": "p" * 130}), "rev-parse", "HEAD:plain.txt")
    files = {"a.bin": POINTER, "dir/b.bin": POINTER, "x.md": POINTER + "and more\n", "y.bin": POINTER[:-1]}
    # A file with lines like git's answer about another one.
    files["z.txt"] = f"\n{other} blob 130\n{POINTER}"[:199]
    directory = make_repository(tmp_path / "s", {**files, "plain.txt": "p" * 130})
    reading = Git(directory)
    found = await find_pointers(reading, await entries_of(reading, "HEAD"))
    assert {(pointer.path, pointer.oid, pointer.size) for pointer in found} == {
        ("a.bin", OID, len(CONTENT)),
        ("dir/b.bin", OID, len(CONTENT)),
    }


class Server:
    """An LFS server that answers as told, and another host."""

    def __init__(self, link: Any, content: bytes = CONTENT, error: Any = None) -> None:
        self.requests: list[httpx.Request] = []
        self._object = {"oid": OID, "size": len(CONTENT), "actions": {"download": link}}
        if error is not None:
            self._object = {"oid": OID, "size": len(CONTENT), "error": error}
        self._content = content

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path.endswith("/objects/batch"):
            return httpx.Response(200, json={"transfer": "basic", "objects": [self._object]})
        return httpx.Response(200, content=self._content)

    async def store(self, directory: Path) -> dict[str, str]:
        repository = make_repository(directory / "r")
        async with httpx.AsyncClient(transport=httpx.MockTransport(self)) as client:
            pointer = Pointer("big.bin", "100644", OID, len(CONTENT))
            return await LfsClient(REMOTE, client, max_bytes=10**6).store(Git(repository), [pointer], directory)


async def test_a_link_to_the_forge_itself_is_followed_encrypted_with_the_token(tmp_path: Path) -> None:
    server = Server({"href": "http://forge.example.test/team/shop.git/info/lfs/objects/x"})
    stored = await server.store(tmp_path)
    assert git(tmp_path / "r", "cat-file", "-s", stored[OID]) == str(len(CONTENT))
    batch, download = server.requests
    assert json.loads(batch.content)["objects"] == [{"oid": OID, "size": len(CONTENT)}]
    assert str(download.url).startswith("https://forge.example.test/")
    assert [request.headers["authorization"] for request in server.requests] == [f"Basic {BASIC}"] * 2


async def test_a_link_to_another_host_gets_the_forges_headers_and_not_the_token(tmp_path: Path) -> None:
    server = Server({"href": "https://store.example.test/x?signature=y", "header": {"X-Key": "z", "Host": "evil"}})
    await server.store(tmp_path)
    download = server.requests[1]
    assert download.headers["x-key"] == "z"
    assert download.headers["host"] == "store.example.test"
    assert "authorization" not in download.headers


@pytest.mark.parametrize(
    ("link", "content", "reason"),
    [
        ({"href": "http://store.example.test/x"}, CONTENT, "not by https"),
        ({"href": "file:///etc/passwd"}, CONTENT, "not by https"),
        ({"href": "https://store.example.test/x", "header": {"A": f"Basic {BASIC}"}}, CONTENT, "token shown"),
        ({"href": f"https://store.example.test/{TOKEN}"}, CONTENT, "token shown"),
        ({"href": "https://forge.example.test/x"}, CONTENT[:-1] + b"!", "not what the pointer says"),
        ({"href": "https://forge.example.test/x"}, CONTENT + b"!", "not what the pointer says"),
        ({"href": "https://forge.example.test/x"}, b"", "not what the pointer says"),
        ({"no": "href"}, CONTENT, "no batch"),
    ],
)
async def test_bad_links_and_contents_are_refused(tmp_path: Path, link: Any, content: bytes, reason: str) -> None:
    server = Server(link, content)
    with pytest.raises(RunFailedError, match=reason) as caught:
        await server.store(tmp_path)
    assert caught.value.outcome == "lfs_failed"
    assert TOKEN not in caught.value.message
    assert len(server.requests) == 1 or "pointer" in reason


async def test_a_file_that_the_server_has_not_is_named(tmp_path: Path) -> None:
    server = Server({}, error={"code": 404, "message": "not there"})
    with pytest.raises(RunFailedError, match=f"does not hand out 1 of them, such as {OID}"):
        await server.store(tmp_path)
