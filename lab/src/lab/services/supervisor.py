"""Process 1 of the services' container: starts every program, restarts one that ends, reaps the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

SECRETS = "/lab/secrets"
TLS = "/lab/tls"
PROGRAMS: Mapping[str, Sequence[str]] = {
    "gitea": ("-m", "lab.services.gitea.serve"),
    "claude": ("-m", "lab.services.claude", "--port", "8101", "--api-key-file", f"{SECRETS}/claude_api_key"),
    "jira": ("-m", "lab.services.jira", "--port", "8102", "--token-file", f"{SECRETS}/jira_token"),
    "logs": (
        *("-m", "lab.services.logs", "--port", "8103", "--password-file", f"{SECRETS}/logs_password"),
        *("--api-key-file", f"{SECRETS}/logs_api_key"),
    ),
    "alerts": (
        *("-m", "lab.services.alerts", "--port", "8104", "--token-file", f"{SECRETS}/alerts_token"),
        *("--mail-address", "0.0.0.0", "--mail-port", "25"),  # noqa: S104 - the lab's network
        *("--certificate", f"{TLS}/services.crt", "--key", f"{TLS}/services.key"),
    ),
}
NGINX = ("nginx", "-c", "/lab/code/lab/services/nginx.conf", "-g", "daemon off;")

_QUICK_SECONDS = 10.0
_TRIES = 5


class Supervisor:
    """Runs the programs until SIGTERM, or until one fails again and again at its start."""

    def __init__(self) -> None:
        self._commands = {name: (sys.executable, *words) for name, words in PROGRAMS.items()} | {"nginx": NGINX}
        self._running: dict[int, str] = {}
        self._started: dict[str, float] = {}
        self._quick_ends: dict[str, int] = {}
        self._stopping = False

    def _start(self, name: str) -> None:
        self._started[name] = time.monotonic()
        process = subprocess.Popen(self._commands[name], stdin=subprocess.DEVNULL)
        self._running[process.pid] = name

    def stop(self, *_: object) -> None:
        """End all programs; `run` returns when they are gone."""
        self._stopping = True
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)

    def _ended(self, name: str, status: int) -> bool:
        """Whether to go on after the program `name` ended."""
        print(f"supervisor: {name} ended with status {os.waitstatus_to_exitcode(status)}", flush=True)
        quick = time.monotonic() - self._started[name] < _QUICK_SECONDS
        self._quick_ends[name] = self._quick_ends.get(name, 0) + 1 if quick else 0
        if self._quick_ends[name] >= _TRIES:
            return False
        self._start(name)
        return True

    def run(self) -> int:
        """Serve; the exit status."""
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        for name in self._commands:
            self._start(name)
        failed = False
        while self._running:
            pid, status = os.waitpid(-1, 0)
            if pid not in self._running:
                continue  # an orphan of one of the programs
            name = self._running.pop(pid)
            if not self._stopping and not self._ended(name, status):
                failed = True
                self.stop()
        return int(failed)


if __name__ == "__main__":
    sys.exit(Supervisor().run())
