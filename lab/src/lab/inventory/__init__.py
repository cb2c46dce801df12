"""The inventory with which Ansible reaches the test hosts.

`settings.yml` beside this file holds what every lab says; here is added what differs from machine to
machine: keys, certificates and, by the product's own playbook, secrets.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import hosts, machine, paths
from lab.console import LabError, say, step
from lab.hosts import APPLIANCE, Host
from lab.process import locked, run
from lab.process import write as replace
from lab.services import secrets, tls

GROUPS = ("mongodb", "rabbitmq", "app", "agents", "edge", "monitoring", "backup")

# What only an operator can give, and which file of the outside services holds it.
_GIVEN = {
    "secret_anthropic_api_key": "claude_api_key",
    "secret_jira_api_token": "jira_token",
    "secret_filebeat_password": "logs_password",
    "secret_lab_alerts_token": "alerts_token",
}


def folder(names: Sequence[str]) -> Path:
    """The inventory's folder: `inventory` for the appliance, `inventory-<name>…` for other hosts."""
    suffix = "" if list(names) == [APPLIANCE] else "-" + "-".join(names)
    return paths.state(f"inventory{suffix}")


def of(described: Sequence[str]) -> Path:
    """Write the inventory of hosts, which exist, in the folder that is theirs.

    Args:
        described: A name each, or a name and its groups: `broker:rabbitmq,backup`. A host without groups is in
            every group that no other host claims.

    Raises:
        LabError: One of them does not exist, or is put into a group that does not.
    """
    claims = parsed(described)
    known = {host.name: host for host in hosts.known()}
    missing = [name for name in claims if name not in known]
    if missing:
        raise LabError(f"no such host: {', '.join(missing)}", f"make it: lab host create {missing[0]}")
    return write([known[name] for name in claims], folder(list(claims)), claims)


def parsed(described: Sequence[str]) -> dict[str, list[str]]:
    """Name to the groups that were claimed for it, which may be none."""
    claims: dict[str, list[str]] = {}
    for text in described:
        name, _, groups = text.partition(":")
        claims[name] = [group for group in groups.split(",") if group]
    unknown = sorted({group for groups in claims.values() for group in groups} - set(GROUPS))
    if unknown:
        raise LabError(f"no such group: {', '.join(unknown)}", f"one of {', '.join(GROUPS)}")
    return claims


def members_of_groups(claims: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Group to the names of its hosts: those that claim it, else those that claim nothing."""
    rest = [name for name, groups in claims.items() if not groups]
    return {group: [name for name, groups in claims.items() if group in groups] or rest for group in GROUPS}


def write(members: Sequence[Host], target: Path, claims: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Write the inventory of *members* to *target*, with what secrets it lacks.

    Args:
        claims: Host name to groups, as `parsed` gives them; without, each host is in every group.
    """
    claims = claims or {host.name: [] for host in members}
    with locked("inventory"):
        variables = target / "group_vars" / "all"
        replace(target / "hosts.yml", _hosts({host.name: host.address for host in members}, members_of_groups(claims)))
        replace(variables / "lab.yml", (paths.PACKAGE / "inventory" / "settings.yml").read_text())
        replace(variables / "machine.yml", _machine())
        _generate_secrets(target)
    say(f"the inventory is {target}")
    return target


def _hosts(addresses: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> str:
    options = " ".join(hosts.ssh_options()[2:])
    inventory = {
        "all": {
            "hosts": {name: {"ansible_host": address} for name, address in addresses.items()},
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": hosts.ssh_key(),
                "ansible_ssh_common_args": options,
            },
            "children": {group: {"hosts": {name: {} for name in names}} for group, names in groups.items()},
        }
    }
    return _yaml(inventory)


def _machine() -> str:
    certificates = {"lab": tls.ensure_ca(paths.state()).read_text()}
    certificates.update(machine.extra_ca_certificates())
    listed = [{"name": name, "content": pem} for name, pem in certificates.items()]
    return _yaml({"extra_trusted_ca_certificates": listed})


def _generate_secrets(target: Path) -> None:
    """Run the product's playbook, giving it what the outside services accept."""
    store = paths.state("services")
    secrets.ensure(store)
    given = {name: secrets.read(store / file) for name, file in _GIVEN.items()}
    playbook = paths.CHECKOUT / "playbooks" / "operations" / "generate_secrets.yml"
    with tempfile.TemporaryDirectory(dir=paths.state()) as scratch, step("secrets of the inventory"):
        file = Path(scratch, "given.yml")
        replace(file, _yaml(given), mode=0o600)
        ansible = str(Path(sys.executable).with_name("ansible-playbook"))
        run(
            [ansible, "-i", str(target), "-e", f"secrets_given_file={file}", str(playbook)],
            cwd=paths.CHECKOUT,
            env={"ANSIBLE_CONFIG": str(paths.CHECKOUT / "ansible.cfg")},
            hint="run the lab by the checkout's toolchain: scripts/bootstrap, then .venv/bin/python",
        )


def _yaml(value: object) -> str:
    """JSON is YAML, and needs no library."""
    return "---\n" + json.dumps(value, indent=2) + "\n"
