"""Molecule as its users type it: in the activated environment, with nothing else prepared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What make and the project's scripts set, and a user's shell does not.
PREPARED = ("ANSIBLE_CONFIG", "PYTHONPATH", "SDLC_LAB_INVENTORY")


@pytest.mark.parametrize("scenario", ["default", "bookworm"])
def test_molecule_finds_playbook_and_roles_without_make(tmp_path: Path, scenario: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in PREPARED}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    password = tmp_path / "vault-password"
    password.write_text("of this test\n", encoding="utf-8")
    environment["SDLC_VAULT_PASSWORD_FILE"] = str(password)
    result = subprocess.run(
        ["molecule", "syntax", "--scenario-name", scenario],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
