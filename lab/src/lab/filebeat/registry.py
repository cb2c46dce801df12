"""What was shipped so far, on disk: a position is written only after the store has confirmed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .settings import Settings


class Registry:
    """Positions by source: `<input id>::<device>-<inode>` of files, `<input id>::journal`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._states: dict[str, dict[str, Any]] = {}
        if file.is_file():
            self._states = json.loads(file.read_text())

    @classmethod
    def of(cls, settings: Settings) -> Registry:
        """The registry that the settings name."""
        folder = Path(settings.top.get("filebeat.registry.path", "registry"))
        return cls(settings.paths.data / folder / "filebeat" / "state.json")

    def get(self, key: str) -> dict[str, Any]:
        """The position of *key*; empty when there is none."""
        return self._states.get(key, {})

    def save(self, states: dict[str, dict[str, Any]]) -> None:
        """Keep *states*, also through a crash in the middle of it."""
        self._states.update(states)
        self._write()

    def forget(self, keys: set[str]) -> None:
        """Drop the positions of sources that are gone."""
        if keys & self._states.keys():
            self._states = {key: value for key, value in self._states.items() if key not in keys}
            self._write()

    def sources(self) -> set[str]:
        """All sources with a position."""
        return set(self._states)

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        half = self._file.with_suffix(".new")
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._states, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(self._file)
