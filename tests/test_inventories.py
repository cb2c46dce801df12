"""Every inventory of this repository: it is read, and says only what the roles and the wiring understand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())
# Ansible's own groups, and Ansible's own variables.
BUILT_IN_GROUPS = {"all", "ungrouped"}
BUILT_IN_PREFIX = "ansible_"


class Loader(yaml.SafeLoader):
    """Takes Ansible's tags for the plain values below them."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))  # type: ignore[arg-type]


def loaded(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=Loader) or {}  # noqa: S506 - a SafeLoader


@cache
def wiring() -> dict[str, Any]:
    """The variables of group_vars/all."""
    return {key: value for path in ROOT.glob("group_vars/all/*.yml") for key, value in loaded(path).items()}


@cache
def known_variables() -> frozenset[str]:
    """The options of every role, and the variables of the wiring."""
    specs = [loaded(path)["argument_specs"]["main"] for path in ROOT.glob("roles/*/meta/argument_specs.yml")]
    options = {name for spec in specs for name in spec.get("options", {})}
    return frozenset(options | wiring().keys())


def ansible(tmp_path: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the toolchain's programs on this checkout, with a vault password of the test's own."""
    password = tmp_path / "vault-password"
    password.write_text("of this test\n", encoding="utf-8")
    return subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACKS_ENABLED": "",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
            "SDLC_VAULT_PASSWORD_FILE": str(password),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environments_of_the_documentation_are_there() -> None:
    assert {"appliance", "production", "staging"} <= set(INVENTORIES)


@pytest.mark.parametrize("name", INVENTORIES)
def test_an_inventory_is_read_and_has_the_appliances_groups_only(tmp_path: Path, name: str) -> None:
    listed = ansible(tmp_path, "ansible-inventory", "-i", f"inventories/{name}", "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    groups = {key: value for key, value in json.loads(listed.stdout).items() if key != "_meta"}
    assert set(groups) - BUILT_IN_GROUPS == set(wiring()["topology_groups"])
    assert [group for group in wiring()["topology_groups"] if not groups[group].get("hosts")] == []


@pytest.mark.parametrize("name", INVENTORIES)
def test_an_inventory_sets_only_variables_that_exist(name: str) -> None:
    folder = ROOT / "inventories" / name
    described = loaded(folder / "hosts.yml")["all"]
    groups = [described, *(group for group in described.get("children", {}).values() if group)]
    named = {key for group in groups for key in group.get("vars", {})}
    named |= {key for group in groups for host in (group.get("hosts") or {}).values() for key in host or {}}
    # secrets.yml is encrypted, and the operator's.
    files = [path for path in folder.glob("*_vars/**/*.yml") if path.name != "secrets.yml"]
    named |= {key for path in files for key in loaded(path)}
    unknown = {key for key in named - known_variables() if not key.startswith(BUILT_IN_PREFIX)}
    assert unknown == set()


@pytest.mark.parametrize("name", INVENTORIES)
def test_the_playbook_is_valid_on_an_inventory(tmp_path: Path, name: str) -> None:
    checked = ansible(tmp_path, "ansible-playbook", "-i", f"inventories/{name}", "--syntax-check", "site.yml")
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_environments_have_hosts_and_a_public_name_of_their_own() -> None:
    hosts: list[str] = []
    for name in INVENTORIES:
        described = loaded(ROOT / "inventories" / name / "hosts.yml")["all"]
        own = set(described.get("hosts") or {})
        own |= {host for group in described.get("children", {}).values() for host in group.get("hosts") or {}}
        hosts += own
    assert len(hosts) == len(set(hosts)), sorted(hosts)
    public = [
        loaded(ROOT / "inventories" / name / "group_vars" / "all" / "main.yml")["nginx_webhook_server_name"]
        for name in ("production", "staging")
    ]
    assert len(set(public)) == len(public)


def test_a_smaller_environment_still_has_more_than_one_host() -> None:
    sizes = {}
    for name in ("production", "staging"):
        children = loaded(ROOT / "inventories" / name / "hosts.yml")["all"]["children"]
        sizes[name] = len({host for group in children.values() for host in group["hosts"]})
    assert 1 < sizes["staging"] < sizes["production"]
