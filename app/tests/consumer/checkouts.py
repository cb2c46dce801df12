"""Repositories as the consumer takes them, on the tests' Gitea."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry

from sdlc_agents.consumer.checkout.mirrors import MirrorMetrics, Mirrors
from sdlc_agents.consumer.checkout.remote import Remote, Transport
from sdlc_agents.consumer.checkout.workspace import Workspace
from sdlc_agents.git.command import Credentials
from support.lab import GiteaRepository
from support.repositories import git

BRANCH = "feature/SHOP-1"


class Mirrored:
    """Runs with a directory of mirrors; what the mirrors counted."""

    def __init__(self, directory: Path, *, max_bytes: int = 10**9, wait_seconds: float = 30) -> None:
        self.registry = CollectorRegistry()
        self.directory = directory / "mirrors"
        self.mirrors = Mirrors(self.directory, max_bytes, MirrorMetrics(self.registry), wait_seconds=wait_seconds)
        self._work = directory
        self._number = 0

    def workspace(self, remote: Remote) -> Workspace:
        """A run's own."""
        self._number += 1
        return Workspace(self._work / f"work-{os.getpid()}-{self._number}", remote, self.mirrors)

    def counted(self) -> dict[str, float]:
        """Uses by result."""
        samples = [sample for metric in self.registry.collect() for sample in metric.samples]
        return {sample.labels["result"]: sample.value for sample in samples if sample.name.endswith("uses_total")}

    def present(self) -> list[Path]:
        """The mirrors that are there."""
        return [path for path in self.directory.iterdir() if path.is_dir()]


def remote_of(repository: GiteaRepository, *, proxy: str | None = None, token: str = "") -> Remote:
    """The repository with the bot's token, or another."""
    gitea = repository.gitea
    credentials = Credentials(gitea.url, "sdlc-agents", token or gitea.bot_token)
    return Remote(f"{repository.url}.git", credentials, Transport(proxy, gitea.ca_file))


def files_with(secret: str, directory: Path) -> list[Path]:
    """The files below it that hold the secret; fails when there are no files."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes()]


def unpacked(workspace: Workspace, directory: Path) -> Path:
    """The bundle for the runner as a repository, which fails unless it is complete."""
    directory.mkdir()
    git(directory, "init", "--quiet", "--bare")
    shallow = workspace.outgoing.parent / "repository.git" / "shallow"
    if shallow.exists():
        (directory / "shallow").write_text(shallow.read_text())
    git(directory, "fetch", "--quiet", str(workspace.outgoing), "+refs/heads/*:refs/heads/*")
    git(directory, "log", "-p", "--all")
    git(directory, "fsck", "--connectivity-only")
    return directory
