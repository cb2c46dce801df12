"""The pipelines of GitHub and GitLab run what `make test` runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = (ROOT / "scripts/test").read_text(encoding="utf-8")
PARTS = {"lint", "app", "host"}


def body(function: str) -> str:
    """A function of scripts/test."""
    found = re.search(rf"^{function}\(\) {{\n(?P<body>.*?)^}}$", SCRIPT, re.MULTILINE | re.DOTALL)
    assert found, function
    return found["body"]


def loaded(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return found


def test_make_test_runs_what_the_parts_run() -> None:
    assert {"lint", "tools", "services", "scripts/test converge"} <= {
        line.strip().removeprefix("setsid ").partition(" >")[0] for line in body("all").splitlines()
    }
    assert {line.strip() for line in body("app").splitlines()} == {"tools", "services"}
    steps = [name for part in ("converge", "all") for name in re.findall(r"for part in (.*?); do", body(part))]
    sequence = loaded("molecule/default/molecule.yml")["scenario"]["test_sequence"]
    assert " ".join(steps).replace("-", "_").split() == sequence


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
