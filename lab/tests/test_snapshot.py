"""Copies of the lab's own code, which its containers run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import paths, snapshot
from lab.services import container


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDLC_LAB_CACHE", str(tmp_path / "cache"))


def test_two_clones_of_one_state_have_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = set()
    for clone in ("first", "second"):
        shutil.copytree(paths.PACKAGE, tmp_path / clone)
        monkeypatch.setattr(paths, "PACKAGE", tmp_path / clone)
        monkeypatch.setattr(paths, "SERVICES", tmp_path / clone / "services")
        made.add(snapshot.of(container.code()))
    assert len(made) == 1


def test_another_content_is_another_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PACKAGE", tmp_path)
    file = tmp_path / "program.py"
    copies = []
    for content in ("one", "two"):
        file.write_text(content)
        copies.append(snapshot.of([file]) / "program.py")
    assert [copy.read_text() for copy in copies] == ["one", "two"]


def test_the_programs_of_the_services_find_all_that_they_import(tmp_path: Path) -> None:
    (tmp_path / "lab").symlink_to(snapshot.of(container.code()))
    programs = (
        "alerts.__main__",
        "claude.__main__",
        "gitea.serve",
        "jira.server",
        "logs.__main__",
        "probe",
        "supervisor",
    )
    names = ", ".join(f"lab.services.{program}" for program in programs)
    # Without site-packages: what this environment has installed would hide what is missing.
    started = subprocess.run(
        [sys.executable, "-S", "-c", f"import {names}; print(lab.__file__)"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (started.returncode, started.stderr) == (0, "")
    assert Path(started.stdout.strip()).is_relative_to(tmp_path)
