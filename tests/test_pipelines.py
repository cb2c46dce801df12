"""The pipelines of GitHub and GitLab run what `make test` runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
ALL = re.search(r"^    all\) (?P<parts>.*);;$", (ROOT / "scripts/test").read_text(encoding="utf-8"), re.MULTILINE)
assert ALL
PARTS = {part.strip() for part in ALL["parts"].split(";") if part.strip()}


def loaded(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return found


def test_github_runs_every_part_of_make_test() -> None:
    (job,) = loaded(".github/workflows/ci.yml")["jobs"].values()
    assert {entry["part"] for entry in job["strategy"]["matrix"]["include"]} == PARTS
    assert job["steps"][-1]["run"] == '.ci/on-debian "$PART"'


def test_gitlab_runs_every_part_of_make_test() -> None:
    pipeline = loaded(".gitlab-ci.yml")
    jobs = {name for name, job in pipeline.items() if not name.startswith(".") and "extends" in job}
    assert jobs == PARTS
    assert pipeline[".on-debian"]["script"] == ['.ci/on-debian "$CI_JOB_NAME"']


def test_actions_of_others_are_pinned_by_commit() -> None:
    (job,) = loaded(".github/workflows/ci.yml")["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", name)] == []
