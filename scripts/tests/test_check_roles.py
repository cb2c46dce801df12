"""scripts/check_roles: what it refuses, on a copy of the roles with one thing changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "check_roles"

# What is changed, in which file, into what, and words of what is said of it.
CASES = {
    "a tag of another scheme": (
        "roles/mongodb/tasks/main.yml",
        ("tags: [mongodb, mongodb_install, install]", "tags: [mongodb_install]"),
        ["roles/mongodb: 'Install MongoDB' has the tags", "not [mongodb, mongodb_install, install]"],
    ),
    "a task of its own in main.yml": (
        "roles/mongodb/tasks/main.yml",
        ("---\n", "---\n- name: Stray\n  ansible.builtin.debug: {}\n  tags: [always]\n"),
        ["'Stray' is neither the import of a step nor a set_fact"],
    ),
    "a step that nobody imports": (
        "roles/mongodb/tasks/main.yml",
        (
            "import_tasks: validate.yml\n  tags: [mongodb, mongodb_validate, validate]",
            "import_tasks: other.yml\n  tags: [x]",
        ),
        ["validate.yml is there and is not imported"],
    ),
    "tags on a task of a step": (
        "roles/nginx/tasks/service.yml",
        ("    enabled: true\n", "    enabled: true\n  tags: [edge]\n"),
        ["roles/nginx: tasks/service.yml: 'Start nginx' has tags"],
    ),
    "an include that no tag reaches": (
        "roles/app/tasks/install.yml",
        ("    apply: {tags: [always]}\n", ""),
        ["'Build the images' includes a file without apply"],
    ),
    "a play with another tag": (
        "playbooks/edge.yml",
        ("tags: [nginx]", "tags: [edge]"),
        ["playbooks/edge.yml: role nginx has the tags ['edge'], not [nginx]"],
    ),
    "another licence": (
        "roles/backup/meta/main.yml",
        ("license: Apache-2.0", "license: MIT"),
        ["roles/backup: meta/main.yml says license: MIT; LICENSE is Apache-2.0"],
    ),
    "a group of the inventory": (
        "roles/preflight/tasks/host.yml",
        ("when: preflight_rabbitmq_from_debian", "when: \"'rabbitmq' in group_names\""),
        ["roles/preflight: tasks/host.yml:", "looks at the inventory"],
    ),
    "the hosts of a group": (
        "roles/nginx/templates/nginx.conf.j2",
        ("{{ ansible_managed", "{{ groups['app'] }}{{ ansible_managed"),
        ["roles/nginx: templates/nginx.conf.j2:1 looks at the inventory"],
    ),
}


def checked(root: Path) -> subprocess.CompletedProcess[str]:
    """The script's verdict on a checkout."""
    return subprocess.run([sys.executable, SCRIPT, root], capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the script reads."""
    for name in ("roles", "playbooks"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    for name in ("LICENSE", "site.yml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_the_roles_as_they_are_hold(checkout: Path) -> None:
    done = checked(checkout)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("case", CASES)
def test_what_departs_from_the_rules_is_refused(checkout: Path, case: str) -> None:
    file, (before, after), told = CASES[case]
    path = checkout / file
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after, 1))
    done = checked(checkout)
    assert done.returncode == 1
    for words in told:
        assert words in done.stderr
