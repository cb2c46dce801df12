"""git with a token: it is given to its own forge, and shown nowhere."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sdlc_agents.consumer.checkout.remote import Transport
from sdlc_agents.git.command import ASKPASS, Credentials, Git, GitError
from support.lab import Gitea
from support.relay import EgressProxy
from support.repositories import make_repository

TOKEN = "a-token-that-nobody-may-see"


def running_commands() -> Iterator[str]:
    """The arguments of every process of this machine."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield (entry / "cmdline").read_text(errors="replace")


def alive(pid: Path) -> bool:
    """Whether the process whose id is in the file runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{int(pid.read_text())}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def ask(prompt: str) -> subprocess.CompletedProcess[str]:
    environment = Credentials("https://git.example:8443", "bot", TOKEN).environment()
    return subprocess.run(
        [str(ASKPASS), prompt], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_the_helper_answers_for_its_own_origin() -> None:
    assert ask("Password for 'https://bot@git.example:8443': ").stdout == TOKEN + "\n"


@pytest.mark.parametrize(
    "prompt",
    [
        "Password for 'https://bot@evil.example': ",
        "Password for 'https://bot@git.example:8443.evil.example': ",
        "Password for 'http://bot@git.example:8443': ",
        "Password for 'https://other@git.example:8443': ",
        "Username for 'https://git.example:8443': ",
        "",
    ],
)
def test_the_helper_answers_nobody_else(prompt: str) -> None:
    answer = ask(prompt)
    assert answer.returncode == 1
    assert answer.stdout == ""


async def test_a_fetch_goes_through_the_proxy_with_the_token_in_no_argument(
    gitea: Gitea, proxy: EgressProxy, authority_file: Path, tmp_path: Path
) -> None:
    repository = await gitea.make_repository()
    make_repository(tmp_path / "r")
    git = Git(tmp_path / "r", ("https",), Transport(proxy.url, authority_file).options())
    seen: set[str] = set()

    async def watch() -> None:
        while True:
            seen.update(running_commands())
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    listing = await git.run(
        "ls-remote", repository.url + ".git", credentials=Credentials(gitea.url, "bot", gitea.bot_token)
    )
    watching.cancel()
    assert "refs/heads/main" in listing
    assert any("ls-remote" in arguments for arguments in seen), "the check itself is blind"
    assert not any(gitea.bot_token in arguments for arguments in seen)
    assert proxy.asked == [gitea.url.removeprefix("https://")]


async def test_a_wrong_token_is_an_error_without_the_token(
    gitea: Gitea, proxy: EgressProxy, authority_file: Path, tmp_path: Path
) -> None:
    repository = await gitea.make_repository()
    git = Git(tmp_path, ("https",), Transport(proxy.url, authority_file).options())
    with pytest.raises(GitError, match="Authentication failed") as caught:
        await git.run("ls-remote", repository.url + ".git", credentials=Credentials(gitea.url, "bot", TOKEN))
    assert TOKEN not in caught.value.message


async def test_a_certificate_of_an_unknown_authority_is_refused(
    gitea: Gitea, proxy: EgressProxy, tmp_path: Path
) -> None:
    git = Git(tmp_path, ("https",), Transport(proxy.url).options())
    with pytest.raises(GitError, match=re.compile("certificate", re.IGNORECASE)):
        await git.run("ls-remote", gitea.url + "/demo/shop.git")


@pytest.mark.parametrize("url", ["http://127.0.0.1/x.git", "ssh://127.0.0.1/x", "ext::sh -c true", "git://127.0.0.1/x"])
async def test_other_protocols_are_closed(tmp_path: Path, url: str) -> None:
    with pytest.raises(GitError, match="not allowed"):
        await Git(tmp_path, ("https",)).run("ls-remote", url)


async def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    # The kernel takes a while to end what holds much memory, longer than the shell that started it.
    child = "import os, time; kept = b'x' * (500 << 20); print(os.getpid(), flush=True); time.sleep(300)"
    git = Git(tmp_path, prefix=("sh", "-c", f'python3 -c "{child}" > {pid} 2> /dev/null & wait'))
    with pytest.raises(GitError, match="longer than"):
        await git.run("status", seconds=3)
    assert not alive(pid)


async def test_a_repositorys_own_configuration_runs_nothing(tmp_path: Path) -> None:
    directory = make_repository(tmp_path / "r")
    trace = tmp_path / "trace"
    (directory / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in ("pre-commit", "post-checkout", "reference-transaction", "post-index-change"):
        path = directory / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\necho {hook} >> {trace}\n")
        path.chmod(0o755)
    with (directory / ".git" / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = sh -c 'echo fsmonitor >> {trace}'\n")
    git = Git(
        directory,
        environment={
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b.c",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@b.c",
        },
    )
    (directory / "x").write_text("x")
    await git.run("add", "--all")
    await git.run("commit", "--message=x")
    await git.run("checkout", "--quiet", "HEAD~1")
    assert not trace.exists(), trace.read_text()
