"""Where the lab keeps things.

The cache holds what is costly to make and is keyed by content, so it is never wrong, only
incomplete. The state belongs to one checkout: keys, certificates, passwords, the inventory.
"""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parents[2]
SERVICES = PACKAGE / "services"


def cache(*parts: str) -> Path:
    """The path of *parts* in the cache; its folder exists afterwards."""
    root = os.environ.get("SDLC_LAB_CACHE") or Path.home() / ".cache" / "sdlc-agents-lab"
    return _below(Path(root), parts, mode=0o755)


def state(*parts: str) -> Path:
    """The path of *parts* in the state folder; its folder exists afterwards."""
    root = os.environ.get("SDLC_LAB_STATE") or CHECKOUT / ".lab"
    return _below(Path(root), parts, mode=0o700)


def _below(root: Path, parts: tuple[str, ...], mode: int) -> Path:
    path = root.resolve().joinpath(*parts)
    folder = path.parent if parts else path
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    return path
