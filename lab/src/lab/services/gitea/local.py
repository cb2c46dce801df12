"""A Gitea for one test run: started on a free loopback port, ended with the process that started it."""

from __future__ import annotations

import atexit
import getpass
import secrets as random
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lab.console import LabError
from lab.process import wait_until
from lab.services import secrets
from lab.services.gitea import build
from lab.services.gitea.instance import ADMIN, BOT, BOT_SCOPES, Instance
from lab.services.gitea.seed import Api, seed


class LocalGitea(NamedTuple):
    """Its address and the bot's token, which may write to `demo/shop`."""

    url: str
    token: str


_running: dict[str, subprocess.Popen[bytes]] = {}


def start_local(directory: Path, port: int = 0) -> LocalGitea:
    """Start a Gitea that keeps everything in `directory` and holds `demo/shop`.

    A token of the administrator is in `directory/admin_token`, for what a test does as a person (merge,
    close). Without a port it takes one that is free just now. Builds Gitea if the cache lacks it.
    `stop_local` ends it; so does the end of this process.
    """
    port = port or _free_port()
    url = f"http://127.0.0.1:{port}"
    instance = Instance(build.ensure(), directory / "gitea", port, f"{url}/", getpass.getuser())
    instance.prepare()
    admin, bot = instance.token(ADMIN, "all"), instance.token(BOT, BOT_SCOPES)
    process = instance.start(directory / "gitea.log")
    _running[url] = process
    atexit.register(stop_local, url)

    def ready() -> bool:
        if process.poll() is not None:
            raise LabError(
                f"gitea ended with status {process.returncode} while it started",
                f"see {directory / 'gitea.log'}",
            )
        return instance.answers()

    wait_until(ready, "the local Gitea answers", timeout=60)
    seed(Api(url, admin), random.token_urlsafe(24))
    secrets.write(directory / "admin_token", admin)
    return LocalGitea(url, bot)


def stop_local(url: str) -> None:
    """End the Gitea that `start_local` started at `url`; nothing if it is gone."""
    process = _running.pop(url, None)
    if process is None:
        return
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    # Below those that Linux gives by itself: until Gitea binds it, any connection could be given one of them.
    for port in random.SystemRandom().sample(range(32_000, 32_768), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LabError("no port from 32000 to 32767 is free on loopback", "see which programs listen there: ss -ltnp")
