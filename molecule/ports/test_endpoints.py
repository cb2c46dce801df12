"""The wiring stands in one place, and scenario `ports` changes all of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENDPOINTS: dict[str, Any] = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())
TABLES: dict[str, Any] = yaml.safe_load((ROOT / "group_vars/all/networks.yml").read_text())
NETWORKS, SERVICES = TABLES["app_networks"], TABLES["networks_services"]
OTHER: dict[str, Any] = yaml.safe_load((ROOT / "molecule/ports/group_vars/all/endpoints.yml").read_text())
RENAMED: dict[str, str] = yaml.safe_load((ROOT / "group_vars/all/renamed.yml").read_text())[
    "preflight_renamed_variables"
]
# The services have these names in their code.
FIXED = {name for name in ENDPOINTS if name.startswith("broker_")}
# A number that is an endpoint's and nothing else: a size or a time may be the same as one of the small ones.
PORTS = {str(value) for name, value in ENDPOINTS.items() if name.endswith("_port") and value > 1000}
NAMES = ("rs0", "sdlc_agent", "/etc/sdlc-agents/pki", "/var/lib/prometheus/node-exporter")


def test_the_scenario_changes_every_port_name_and_path() -> None:
    assert OTHER.keys() == {*ENDPOINTS.keys() - FIXED, "app_networks"}
    assert [name for name in ENDPOINTS.keys() - FIXED if OTHER[name] == ENDPOINTS[name]] == []


def test_the_scenarios_ports_are_all_different_and_none_is_a_usual_one() -> None:
    ports = [value for name, value in OTHER.items() if name.endswith("_port")]
    assert len(set(ports)) == len(ports)
    assert {str(value) for value in ports} & PORTS == set()


def test_the_scenario_changes_every_network() -> None:
    assert OTHER["app_networks"].keys() == NETWORKS.keys()
    for name, network in NETWORKS.items():
        other = OTHER["app_networks"][name]
        assert other["internal"] == network["internal"]
        assert (other["bridge"] == network["bridge"], other["subnet"] == network["subnet"]) == (False, False)


def test_every_service_has_room_of_its_own_on_its_networks() -> None:
    numbers = [
        number
        for service in SERVICES.values()
        for number in range(service["first"], service["first"] + (50 if "count" in service else 1))
    ]
    assert len(set(numbers)) == len(numbers)
    # The host has the first.
    assert set(numbers) <= set(range(2, 255))
    assert {network for service in SERVICES.values() for network in service["networks"]} == NETWORKS.keys()


@pytest.mark.parametrize("name", sorted(FIXED))
def test_the_services_have_the_names_that_are_theirs(name: str) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "app/src").rglob("*.py"))
    assert f'"{ENDPOINTS[name]}"' in sources or f'"{ENDPOINTS[name]}.{{' in sources


def typed() -> list[str]:
    """Each line that types a port, a name or a path in place of its variable.

    A role's defaults are what it does alone, its documents and tests may show examples.
    """
    listed = subprocess.run(
        ["git", "ls-files", "group_vars", "inventories", "playbooks", "roles", "molecule/default/tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    own = re.compile(
        r"group_vars/all/(endpoints|networks|renamed)\.yml|roles/[^/]+/(defaults/|meta/|tests/|README|library/).*"
        r"|.*group_vars$"
    )
    wanted = re.compile(
        rf"(?<![\w.])({'|'.join(sorted(PORTS))}|{'|'.join(map(re.escape, NAMES))})(?![\w-])|\b10\.213\.[0-9]"
    )
    found = []
    for path in (path for path in listed if not own.fullmatch(path) and (ROOT / path).is_file()):
        lines = (ROOT / path).read_text().splitlines()
        found += [f"{path}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if wanted.search(line)]
    return found


def test_nothing_but_the_wiring_types_a_port_a_name_or_a_path() -> None:
    assert typed() == []


@pytest.mark.parametrize("name", RENAMED)
def test_a_renamed_variable_is_read_by_nothing(name: str) -> None:
    told = subprocess.run(
        ["git", "grep", "--word-regexp", "--name-only", name, "--", "group_vars", "roles", "inventories", "playbooks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.split() == ["group_vars/all/renamed.yml"]
