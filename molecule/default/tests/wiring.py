"""What the inventory under test says of ports, names, paths and addresses, so that no test types one of them.

Ansible itself is asked, once: the values are those that a run of site.yml works with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lab import paths

CHECKOUT = Path(__file__).resolve().parents[3]
ENDPOINTS = CHECKOUT / "group_vars" / "all" / "endpoints.yml"
_NETWORKS = ("app_networks", "networks_prefixes", "networks_addresses")


def inventory() -> Path:
    """The folder of the inventory under test."""
    return CHECKOUT / os.environ.get("SDLC_LAB_INVENTORY", paths.state("inventory"))


def described() -> dict[str, Any]:
    """The inventory's hosts and groups."""
    found: dict[str, Any] = json.loads((inventory() / "hosts.yml").read_text().removeprefix("---"))["all"]
    return found


@cache
def _values() -> dict[str, Any]:
    names = [*yaml.safe_load(ENDPOINTS.read_text()), *_NETWORKS]
    listed = json.dumps(names)
    template = f"{{{{ dict({listed} | zip(query('ansible.builtin.vars', *{listed}))) }}}}"
    asked = subprocess.run(
        [
            Path(sys.executable).with_name("ansible"),
            f"--inventory={inventory()}",
            f"--playbook-dir={CHECKOUT}",
            "--module-name=ansible.builtin.debug",
            f"--args={json.dumps({'msg': template})}",
            next(iter(described()["hosts"])),
        ],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(asked.stdout.partition("=>")[2])["msg"]
    return found


def port(name: str) -> int:
    """A port, by its variable."""
    return int(_values()[name])


def text(name: str) -> str:
    """A name or a path, by its variable."""
    return str(_values()[name])


def network(name: str) -> str:
    """The first three numbers of a network's addresses."""
    return str(_values()["networks_prefixes"][name])


def bridge(name: str) -> str:
    """The interface of a network on the host."""
    return str(_values()["app_networks"][name]["bridge"])


def addresses(service: str, name: str) -> list[str]:
    """The addresses of a service's containers on a network."""
    return list(_values()["networks_addresses"][service][name])


def constants(**values: object) -> str:
    """The lines of a Python program that give these names these values."""
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())
