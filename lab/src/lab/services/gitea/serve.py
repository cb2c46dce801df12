"""The Gitea of gitea.lab, in the services' container: prepare, run, fill, and hand out the bot's token."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from lab.console import LabError
from lab.process import wait_until
from lab.services import secrets
from lab.services.gitea.build import Gitea
from lab.services.gitea.instance import ADMIN, BOT, BOT_SCOPES, Instance
from lab.services.gitea.seed import Api, seed

SECRETS = Path("/lab/secrets")
TOKEN = SECRETS / "gitea_bot_token"
INSTANCE = Instance(
    Gitea(Path("/lab/gitea/gitea"), Path("/lab/gitea/static")),
    Path("/var/lib/gitea"),
    3000,
    "https://gitea.lab/",
    "git",
)


def _token_works() -> bool:
    if not TOKEN.is_file():
        return False
    try:
        Api(INSTANCE.api, secrets.read(TOKEN)).call("GET", "/user")
    except (LabError, ValueError):
        return False
    return True


def main() -> int:
    """Run until the server ends or this process is told to."""
    INSTANCE.prepare()
    admin = INSTANCE.token(ADMIN, "all")
    process = INSTANCE.start()
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    wait_until(lambda: INSTANCE.answers() or process.poll() is not None, "Gitea answers", timeout=120)
    if process.poll() is None:
        seed(Api(INSTANCE.api, admin), secrets.read(SECRETS / "gitea_admin_password"))
        if not _token_works():
            secrets.write(TOKEN, INSTANCE.token(BOT, BOT_SCOPES))
        print("gitea: https://gitea.lab/ holds demo/shop", flush=True)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
