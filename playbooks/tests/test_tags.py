"""Tags: what `ansible-playbook site.yml --tags …` picks, asked of Ansible itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("validate", "install", "configure", "service", "verify")
# Every role that site.yml applies has each step, but for these.
STEPS = {"preflight": {"validate"}}
ROLES = sorted(
    path.parent.parent.name
    for path in ROOT.glob("roles/*/tasks/main.yml")
    # Applied by a playbook of its own, which makes the secrets of an inventory.
    if path.parent.parent.name != "secrets"
)
Picked = set[tuple[str, str]]
TASK = re.compile(r"^ +(?P<role>\w+) : (?P<name>.+?)\tTAGS: \[(?P<tags>[^\]]*)\]$", re.M)


def picked(*arguments: str) -> list[tuple[str, str, set[str]]]:
    """Role, name and tags of each task that such a run would have."""
    inventory = ROOT / "inventories" / "appliance"
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(inventory),
        "site.yml",
        "--list-tasks",
    ]
    environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [(match["role"], match["name"], set(match["tags"].split(", "))) for match in TASK.finditer(done.stdout)]


def steps(*arguments: str) -> Picked:
    """Role and step of each task that such a run would have, but for those that every run has."""
    found = set()
    for role, name, tags in picked(*arguments):
        if "always" in tags:
            continue
        (step,) = tags & set(VERBS)
        assert tags == {role, f"{role}_{step}", step}, name
        found.add((role, step))
    return found


@pytest.fixture(scope="module")
def everything() -> Picked:
    """Role and step of all that site.yml does."""
    return steps()


def test_site_yml_has_every_step_of_every_role(everything: Picked) -> None:
    assert everything == {(role, verb) for role in ROLES if role not in STEPS for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_picks_that_step_of_every_role(everything: Picked, verb: str) -> None:
    assert steps("--tags", verb) == {(role, step) for role, step in everything if step == verb}


# Three stand for all: test_site_yml_has_every_step_of_every_role has seen that each task has its three tags.
@pytest.mark.parametrize("role", ["app", "filebeat", "mongodb"])
def test_a_role_picks_all_of_its_steps_and_no_other(role: str) -> None:
    assert steps("--tags", role) == {(role, verb) for verb in VERBS}


@pytest.mark.parametrize(("role", "verb"), [("mongodb", "configure"), ("app", "service"), ("filebeat", "install")])
def test_a_role_and_a_verb_pick_that_one_step(role: str, verb: str) -> None:
    assert steps("--tags", f"{role}_{verb}") == {(role, verb)}


def test_every_run_checks_the_hosts_and_derives_facts_and_does_nothing_else_unasked() -> None:
    always = [(role, name) for role, name, tags in picked("--tags", "mongodb_configure") if "always" in tags]
    checks = {(role, name) for role, name in always if role == "preflight"}
    assert len(checks) > 5
    others = {name for role, name in always if role != "preflight" and not name.startswith("Validating arguments")}
    assert others == {"Derive the image's name and the containers from the options"}
