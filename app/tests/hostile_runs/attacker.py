"""Somebody who may push to the repository, and pushes what no well-behaved git would."""

import base64
import os
import subprocess
from pathlib import Path

from support.lab import GiteaRepository
from support.repositories import IDENTITY, git

Entry = tuple[str, bytes, bytes]
"""Mode, name, and content: of a blob its bytes, of a tree or a commit its hash."""


class Attacker:
    """A clone of the repository, with an owner's credentials."""

    def __init__(self, repository: GiteaRepository, directory: Path) -> None:
        self.repository = repository
        self.clone = directory / f"attacker-{repository.name}"
        self.clone.mkdir()
        git(self.clone, "init", "--quiet", "--initial-branch=main")
        self.remote("fetch", "--quiet", repository.url, "main:refs/heads/main", "--update-head-ok")
        git(self.clone, "reset", "--quiet", "--hard", "main")

    def remote(self, *arguments: str) -> str:
        """git with the owner's credentials."""
        gitea = self.repository.gitea
        basic = base64.b64encode(f"{gitea.admin_token}:x-oauth-basic".encode()).decode()
        environment = {
            "PATH": os.environ["PATH"],
            **IDENTITY,
            "GIT_SSL_CAINFO": str(gitea.ca_file),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.clone, env=environment, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()

    def push(self, *refspecs: str) -> None:
        """Push, forced."""
        self.remote("push", "--quiet", "--force", self.repository.url, *refspecs)

    def refs(self) -> dict[str, str]:
        """Every reference of the repository on the forge."""
        lines = self.remote("ls-remote", self.repository.url).splitlines()
        return {name: value for value, name in (line.split("\t") for line in lines)}

    def everything(self) -> bytes:
        """The content of every object that a reference of the forge leads to."""
        mirror = self.clone.parent / f"mirror-{self.repository.name}"
        self.remote("clone", "--quiet", "--mirror", self.repository.url, str(mirror))
        objects = git(mirror, "rev-list", "--objects", "--all").splitlines()
        names = "\n".join(line.split(" ")[0] for line in objects).encode() + b"\n"
        return subprocess.run(
            ["git", "cat-file", "--batch", "--buffer"],
            cwd=mirror,
            env={"PATH": os.environ["PATH"], **IDENTITY},
            input=names,
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout

    def blob(self, content: bytes) -> str:
        """Write a blob."""
        return git(self.clone, "hash-object", "-w", "--stdin", stdin=content)

    def tree(self, *entries: Entry) -> str:
        """Write a tree as it is given: names that git would refuse, in any order but git's own."""
        raw = []
        for mode, name, content in entries:
            value = content.decode() if mode in {"40000", "160000"} else self.blob(content)
            raw.append((name + b"/" if mode == "40000" else name, mode, name, value))
        content = b"".join(
            mode.encode() + b" " + name + b"\0" + bytes.fromhex(value) for _, mode, name, value in sorted(raw)
        )
        return git(self.clone, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=content)

    def commit_tree(self, tree: str, message: str = "planted") -> str:
        """A commit of it on top of main; main is moved there, here and on the forge."""
        made = git(self.clone, "commit-tree", tree, "-p", "main", "-m", message)
        self.publish(made)
        return made

    def plant(self, *entries: Entry) -> str:
        """Replace what main holds by these entries."""
        return self.commit_tree(self.tree(*entries))

    def publish(self, commit: str) -> None:
        """Make this commit main."""
        git(self.clone, "update-ref", "refs/heads/main", commit)
        self.push("refs/heads/main")
