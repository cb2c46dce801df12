"""Small git repositories made by tests."""

import os
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "A Person",
    "GIT_AUTHOR_EMAIL": "person@example.test",
    "GIT_COMMITTER_NAME": "A Person",
    "GIT_COMMITTER_EMAIL": "person@example.test",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def git(directory: Path, *arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
    """What git wrote to standard output."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **IDENTITY},
        input=stdin,
        capture_output=True,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout.decode().strip()


def make_repository(directory: Path, files: dict[str, str] | None = None) -> Path:
    """A repository with one commit on main."""
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory, files or {"README.md": "# A thing\n"}, "first")
    return directory


def commit(directory: Path, files: dict[str, str], message: str = "change") -> str:
    """Write files and commit them on what is checked out; the commit."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(directory, "add", "--all", "--force")
    git(directory, "commit", "--quiet", "--allow-empty", f"--message={message}")
    return git(directory, "rev-parse", "HEAD")


def bundle(directory: Path, path: Path, *revisions: str) -> Path:
    """A bundle of these revisions."""
    git(directory, "bundle", "create", "--quiet", str(path), *revisions)
    return path
