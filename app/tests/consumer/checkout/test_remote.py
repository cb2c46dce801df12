"""git's way to a forge: what is tried again, and what people are told."""

from pathlib import Path
from typing import Any

import pytest

from sdlc_agents.consumer.checkout.remote import Remote, Transport
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Git, GitError
from sdlc_agents.kernel.serving import serve
from support.processes import free_port
from support.repositories import make_repository


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that git ran."""
    ran: list[str] = []
    run = Git.run

    async def noted(git: Git, *arguments: str, **options: Any) -> str:
        ran.append(arguments[0])
        return await run(git, *arguments, **options)

    monkeypatch.setattr(Git, "run", noted)
    return ran


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:{port}/ops/certificate-manager.git",
        "127.0.0.1:{port}/denied/declined-payments.git",
        "certificates.localhost:{port}/ops/shop.git",
        "rejected.invalid:{port}/ops/shop.git",
    ],
)
async def test_an_address_is_no_reason(address: str, tries: list[str], tmp_path: Path) -> None:
    make_repository(tmp_path / "r")
    url = f"https://{address.format(port=free_port())}"
    with pytest.raises(GitError) as failed:
        await Remote(url, None, Transport()).run(tmp_path / "r", "fetch", url, "main")
    assert url in failed.value.message
    assert tries == ["fetch"] * 3


async def test_a_reason_is_found_beside_an_address(tries: list[str], tmp_path: Path) -> None:
    async def nothing_there(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    make_repository(tmp_path / "r")
    async with serve(nothing_there, port=0, host="127.0.0.1") as port:
        remote = Remote(f"http://127.0.0.1:{port}/ops/certificate-manager.git", None, Transport(protocols=("http",)))
        with pytest.raises(RunFailedError, match="the repository does not exist there") as failed:
            await remote.run(tmp_path / "r", "fetch", remote.url, "main")
    assert failed.value.outcome == "forge_refused"
    assert tries == ["fetch"]
