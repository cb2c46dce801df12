#!/usr/bin/python
"""Ansible module: a broker holds exactly what a definitions file says.

community.rabbitmq's modules need the management plugin, and one rabbitmqctl call or more
for each object. This one exports the broker's definitions once, compares, and imports the
file only where something differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rabbitmq_definitions
short_description: Keeps a RabbitMQ broker's definitions as a file describes them
description:
  - Imports the file when an object in it is missing from the broker or differs.
  - Users, permissions, topic permissions and policies that the file does not hold are removed.
    Virtual hosts, queues, exchanges and bindings that it does not hold stay, because removing
    them may lose messages; they are named in C(unmanaged).
  - Fails when a queue or an exchange exists with other properties, which cannot be changed.
options:
  path: {description: The definitions file on the host, readable by the broker, type: path, required: true}
"""

EXAMPLES = r"""
- name: Keep the broker's definitions
  rabbitmq_definitions:
    path: /etc/rabbitmq/definitions.json
"""

RETURN = r"""
changes: {description: What was done, or would be, type: list, elements: str, returned: always}
unmanaged: {description: What the broker holds beside the file, type: list, elements: str, returned: always}
version: {description: The broker's version, type: str, returned: always}
"""

# What makes an object of each kind the same object.
IDENTITY: dict[str, tuple[str, ...]] = {
    "vhosts": ("name",),
    "users": ("name",),
    "permissions": ("vhost", "user"),
    "topic_permissions": ("vhost", "user", "exchange"),
    "policies": ("vhost", "name"),
    "exchanges": ("vhost", "name"),
    "queues": ("vhost", "name"),
    "bindings": ("vhost", "source", "destination_type", "destination", "routing_key"),
}
# How an object that the file does not hold is removed.
REMOVAL: dict[str, Callable[[tuple[str, ...]], list[str]]] = {
    "policies": lambda key: ["clear_policy", "-p", *key],
    "topic_permissions": lambda key: ["clear_topic_permissions", "-p", *key],
    "permissions": lambda key: ["clear_permissions", "-p", *key],
    "users": lambda key: ["delete_user", *key],
}
IMMUTABLE = ("exchanges", "queues")

Definitions = dict[str, list[dict[str, Any]]]


class BrokerError(Exception):
    """Says to the operator what is wrong, and what to do."""


def by_identity(kind: str, definitions: Definitions) -> dict[tuple[str, ...], dict[str, Any]]:
    """The objects of one kind by what makes each the same object."""
    return {tuple(str(found[part]) for part in IDENTITY[kind]): found for found in definitions.get(kind, [])}


def same(wanted: object, found: object) -> bool:
    """Whether every property that is wanted is there; a broker exports more than a file says."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(name in found and same(value, found[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return sorted(map(repr, wanted)) == sorted(map(repr, found))
    return bool(wanted == found)


def label(kind: str, key: tuple[str, ...]) -> str:
    """An object's name in messages."""
    return f"{kind} {' '.join(key)}"


def differing(wanted: Definitions, found: Definitions) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """What the broker lacks or has otherwise, as (kind, identity, whether it exists)."""
    for kind in IDENTITY:
        existing = by_identity(kind, found)
        for key, value in by_identity(kind, wanted).items():
            if key not in existing:
                yield kind, key, False
            elif not same(value, existing[key]):
                yield kind, key, True


def surplus(wanted: Definitions, found: Definitions) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the broker has and the file does not, in an order in which it can be removed."""
    for kind in (*REMOVAL, *(kind for kind in IDENTITY if kind not in REMOVAL)):
        described = by_identity(kind, wanted)
        for key in by_identity(kind, found):
            if key not in described:
                yield kind, key


class Broker:
    """The broker on this host, by rabbitmqctl."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl answers.

        Raises:
            BrokerError: It failed.
        """
        code, output, error = self.module.run_command(["rabbitmqctl", "-q", *arguments])
        if code != 0:
            raise BrokerError(f"rabbitmqctl {arguments[0]}: {(error or output).strip()}")
        return str(output)

    def export(self) -> dict[str, Any]:
        """The broker's definitions as they are."""
        exported: dict[str, Any] = json.loads(self.control("export_definitions", "-"))
        return exported


def reconcile(broker: Broker, path: str, wanted: Definitions, *, check_mode: bool) -> tuple[list[str], list[str], str]:
    """Make the broker hold what is wanted.

    Returns:
        What was changed, what is there unmanaged, and the broker's version.
    """
    found = broker.export()
    different = list(differing(wanted, found))
    for kind, key, exists in different:
        if exists and kind in IMMUTABLE:
            raise BrokerError(
                f"{label(kind, key)} exists with other properties, and these cannot be "
                "changed. Drain it, delete it (rabbitmqctl delete_queue), and run again."
            )
    changes = [f"{'update' if exists else 'add'} {label(kind, key)}" for kind, key, exists in different]
    if different and not check_mode:
        broker.control("import_definitions", path)
    unmanaged = []
    for kind, key in surplus(wanted, found):
        if kind not in REMOVAL:
            unmanaged.append(label(kind, key))
            continue
        changes.append(f"remove {label(kind, key)}")
        if not check_mode:
            broker.control(*REMOVAL[kind](key))
    if changes and not check_mode:
        still = [label(kind, key) for kind, key, _ in differing(wanted, broker.export())]
        if still:
            raise BrokerError(f"The broker did not take {', '.join(still)}; see its log.")
    return changes, unmanaged, str(found["rabbitmq_version"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}},
        supports_check_mode=True,
    )
    path = module.params["path"]
    try:
        wanted = json.loads(Path(path).read_text())
        changes, unmanaged, version = reconcile(Broker(module), path, wanted, check_mode=module.check_mode)
    except (BrokerError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(changed=bool(changes), changes=changes, unmanaged=unmanaged, version=version)


if __name__ == "__main__":
    main()
