"""What the lab's core tells the outside services, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CONTAINER = "sdlc-lab-services"

NAMES = ("mirror.lab", "gitea.lab", "claude.lab", "jira.lab", "logs.lab", "alerts.lab")


@dataclass(frozen=True)
class ServicesContext:
    """Where the services may keep things, and which network they join.

    `cache` survives the lab (downloads and builds, nothing secret); `state` belongs to this lab (CA,
    keys, tokens) and is made with mode 0700.
    """

    cache: Path
    state: Path
    base_image: str
    network: str = "sdlc-lab"
    address: str = "10.212.0.5"
    mirror: Path | None = None

    @property
    def secrets(self) -> Path:
        """Directory of the files that `lab.services.secrets` makes."""
        return self.state / "services"
