"""One Gitea in one directory: its configuration, its first users, its process."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from lab.console import LabError
from lab.services.gitea.build import Gitea

ADMIN = "lab-admin"
BOT = "sdlc-bot"
BOT_SCOPES = "write:repository,read:issue,read:user"
"""To push a branch and to open a pull request, and to ask whose token it is; nothing else."""

_CONFIGURATION = """\
APP_NAME = Gitea of the lab
RUN_USER = {user}
RUN_MODE = prod
WORK_PATH = {directory}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = {as_root}

[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {root_url}
STATIC_ROOT_PATH = {static}
OFFLINE_MODE = true
DISABLE_SSH = true
LFS_START_SERVER = true

[lfs]
PATH = {directory}/lfs

[database]
DB_TYPE = sqlite3
PATH = {directory}/gitea.db
SQLITE_JOURNAL_MODE = WAL

[repository]
ROOT = {directory}/repositories
DEFAULT_BRANCH = main
DEFAULT_PRIVATE = private

[security]
INSTALL_LOCK = true
SECRET_KEY = {secret_key}
INTERNAL_TOKEN_URI = file:{directory}/internal_token

[service]
DISABLE_REGISTRATION = true
REQUIRE_SIGNIN_VIEW = false

[webhook]
ALLOWED_HOST_LIST = private, loopback

[indexer]
ISSUE_INDEXER_TYPE = db

[session]
PROVIDER = memory

[oauth2]
ENABLED = false

[actions]
ENABLED = false

[packages]
ENABLED = true
PATH = {directory}/packages

[log]
MODE = console
LEVEL = Warn

[log.console]
STDERR = true
"""


@dataclass(frozen=True)
class Instance:
    """A Gitea that keeps everything in `directory` and listens on a loopback port.

    `user` is the account that it runs as; Gitea warns of root, and the lab's container has another.
    """

    gitea: Gitea
    directory: Path
    port: int
    root_url: str
    user: str

    @property
    def api(self) -> str:
        """Where it really listens, whatever name the world knows it by."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Write the configuration, make the database and both users; what is there is kept."""
        account = pwd.getpwnam(self.user)
        configuration = self.directory / "app.ini"
        if not configuration.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._write(self.directory / "internal_token", secrets.token_urlsafe(64), account)
            text = _CONFIGURATION.format(
                user=self.user,
                as_root=str(account.pw_uid == 0).lower(),
                directory=self.directory,
                port=self.port,
                root_url=self.root_url,
                static=self.gitea.static,
                secret_key=secrets.token_urlsafe(48),
            )
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            self._write(configuration, text, account)
        self._command("migrate")
        present = set(re.findall(r"(?m)^\d+\s+(\S+)\s", self._command("admin", "user", "list")))
        for name in {ADMIN, BOT} - present:
            flags = ["--admin"] if name == ADMIN else []
            self._command(
                *("admin", "user", "create", "--username", name, "--email", f"{name}@gitea.lab"),
                *("--random-password", "--must-change-password=false", *flags),
            )

    def token(self, user: str, scopes: str) -> str:
        """A new access token; each call makes another."""
        name = f"lab-{secrets.token_hex(4)}"
        told = self._command(
            *("admin", "user", "generate-access-token", "--username", user),
            *("--token-name", name, "--scopes", scopes, "--raw"),
        )
        # Gitea's own warnings may stand before it.
        found = re.search(r"(?m)^[0-9a-f]{40}$", told)
        if not found:
            raise LabError("gitea made an access token but did not print it as it used to")
        return found.group()

    def start(self, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start the server, logging to `log` or to this process's own error stream.

        It serves once `answers()` says so.
        """
        user, group, groups = self._account()
        with log.open("ab") if log else contextlib.nullcontext() as output:
            return subprocess.Popen(
                self._line("web"),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment(),
                user=user,
                group=group,
                extra_groups=groups,
            )

    def answers(self) -> bool:
        """Whether the server and its database work."""
        try:
            with urllib.request.urlopen(f"{self.api}/api/healthz", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _account(self) -> tuple[int | None, int | None, list[int] | None]:
        """User, group and groups to run a program with; nothing to change when they are this process's."""
        account = pwd.getpwnam(self.user)
        if account.pw_uid == os.getuid():
            return None, None, None
        return account.pw_uid, account.pw_gid, []

    def _line(self, *arguments: str) -> list[str]:
        return [str(self.gitea.program), "--config", str(self.directory / "app.ini"), *arguments]

    def _environment(self) -> dict[str, str]:
        # Gitea runs git, whose own settings on this machine must not count.
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.directory),
            "USER": self.user,
            "GITEA_WORK_DIR": str(self.directory),
        }

    def _command(self, *arguments: str) -> str:
        user, group, groups = self._account()
        done = subprocess.run(
            self._line(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self._environment(),
            check=False,
            timeout=120,
            user=user,
            group=group,
            extra_groups=groups,
        )
        if done.returncode != 0:
            # What it printed may hold a password: its error stream alone is shown.
            raise LabError(f"gitea {' '.join(arguments[:3])} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def _write(self, path: Path, text: str, account: pwd.struct_passwd) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chown(path, account.pw_uid, account.pw_gid)
