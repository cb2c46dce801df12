"""Credentials of the stand-ins: random, made for one lab, one file each, mode 0600."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

NAMES = (
    "gitea_admin_password",
    "claude_api_key",
    "jira_token",
    "logs_password",
    "logs_api_key",
    "alerts_token",
)
"""Made here. `gitea_bot_token` appears beside them once Gitea has issued it."""


def write(path: Path, value: str) -> None:
    """Write a secret so that it is never readable by others, nor half written."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(value + "\n")
    partial.replace(path)


def read(path: Path) -> str:
    """The secret in `path`, without the line's end; ValueError when there is none."""
    value = path.read_text(encoding="utf-8").strip()
    if not value:
        raise ValueError(f"{path} holds no secret")
    return value


def _make(name: str) -> str:
    if name == "claude_api_key":
        return f"sk-ant-lab-{secrets.token_urlsafe(32)}"
    if name == "logs_api_key":
        return f"{secrets.token_urlsafe(15)}:{secrets.token_urlsafe(24)}"
    return secrets.token_urlsafe(24)


def ensure(directory: Path) -> None:
    """Make the directory and each secret that is missing; what is there stays."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in NAMES:
        path = directory / name
        if not path.exists() or not path.read_text(encoding="utf-8").strip():
            write(path, _make(name))
