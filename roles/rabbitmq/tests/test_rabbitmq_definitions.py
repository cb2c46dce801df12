"""How a broker's definitions are compared, what is imported, removed and left alone."""

from __future__ import annotations

import base64
import copy
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROLE = Path(__file__).parents[1]
WANTED: dict[str, list[dict[str, Any]]] = {
    "vhosts": [{"name": "sdlc"}],
    "users": [{"name": "webhook", "password_hash": "AAAA", "tags": []}],
    "permissions": [{"vhost": "sdlc", "user": "webhook", "configure": "^$", "write": "^a$", "read": "^$"}],
    "topic_permissions": [],
    "policies": [{"vhost": "sdlc", "name": "p", "pattern": "^q$", "definition": {"delivery-limit": 20}}],
    "exchanges": [{"vhost": "sdlc", "name": "a", "type": "topic", "durable": True, "arguments": {}}],
    "queues": [{"vhost": "sdlc", "name": "q", "durable": True, "arguments": {"x-queue-type": "quorum"}}],
    "bindings": [
        {"vhost": "sdlc", "source": "a", "destination_type": "queue", "destination": "q", "routing_key": "k.*"}
    ],
}


def load(path: Path) -> ModuleType:
    """A plugin of the role as a module."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


module = load(ROLE / "library" / "rabbitmq_definitions.py")
filters = load(ROLE / "filter_plugins" / "rabbitmq.py")


class Broker:
    """The least that stands for rabbitmqctl: it exports what it was given, and notes what it is told."""

    def __init__(self, **changed: list[dict[str, Any]]) -> None:
        self.held: dict[str, Any] = copy.deepcopy(WANTED) | changed | {"rabbitmq_version": "4.0.5"}
        self.told: list[tuple[str, ...]] = []

    def control(self, *arguments: str) -> str:
        self.told.append(arguments)
        if arguments[0] == "import_definitions":
            for kind in WANTED:
                named = module.by_identity(kind, {kind: self.held[kind]}) | module.by_identity(kind, WANTED)
                self.held[kind] = list(named.values())
        return ""

    def export(self) -> dict[str, Any]:
        return copy.deepcopy(self.held)


def reconcile(broker: Broker, *, check_mode: bool = False) -> tuple[list[str], list[str], str]:
    """What the module does to that broker."""
    answer: tuple[list[str], list[str], str] = module.reconcile(broker, "/file", WANTED, check_mode=check_mode)
    return answer


def test_a_broker_that_is_right_is_left_alone() -> None:
    broker = Broker()
    assert reconcile(broker) == ([], [], "4.0.5")
    assert broker.told == []


def test_more_properties_than_the_file_names_are_no_difference() -> None:
    users = [WANTED["users"][0] | {"limits": {}, "hashing_algorithm": "rabbit_password_hashing_sha256"}]
    assert reconcile(Broker(users=users))[0] == []


@pytest.mark.parametrize("kind", ["vhosts", "users", "permissions", "policies", "exchanges", "queues", "bindings"])
def test_whatever_is_missing_is_imported(kind: str) -> None:
    broker = Broker(**{kind: []})
    changes, _, _ = reconcile(broker)
    assert len(changes) == 1
    assert changes[0].startswith(f"add {kind} ")
    assert broker.told == [("import_definitions", "/file")]


def test_a_changed_password_is_imported() -> None:
    broker = Broker(users=[WANTED["users"][0] | {"password_hash": "BBBB"}])
    assert reconcile(broker)[0] == ["update users webhook"]
    assert broker.told == [("import_definitions", "/file")]


def test_users_permissions_and_policies_beside_the_file_are_removed() -> None:
    broker = Broker(
        users=[*WANTED["users"], {"name": "guest", "tags": ["administrator"]}],
        permissions=[*WANTED["permissions"], {"vhost": "sdlc", "user": "guest"}],
        policies=[*WANTED["policies"], {"vhost": "sdlc", "name": "other"}],
    )
    reconcile(broker)
    assert broker.told == [
        ("clear_policy", "-p", "sdlc", "other"),
        ("clear_permissions", "-p", "sdlc", "guest"),
        ("delete_user", "guest"),
    ]


def test_queues_beside_the_file_stay_and_are_named() -> None:
    broker = Broker(queues=[*WANTED["queues"], {"vhost": "sdlc", "name": "old"}])
    assert reconcile(broker) == ([], ["queues sdlc old"], "4.0.5")
    assert broker.told == []


def test_check_mode_says_what_it_would_do_and_does_nothing() -> None:
    broker = Broker(policies=[], users=[*WANTED["users"], {"name": "guest"}])
    assert reconcile(broker, check_mode=True)[0] == ["add policies sdlc p", "remove users guest"]
    assert broker.told == []


def test_a_queue_of_another_type_stops_the_run_before_any_change() -> None:
    classic = WANTED["queues"][0] | {"arguments": {"x-queue-type": "classic"}}
    broker = Broker(queues=[classic], policies=[])
    with pytest.raises(module.BrokerError, match="queues sdlc q exists with other properties"):
        reconcile(broker)
    assert broker.told == []


def test_a_password_hash_is_what_rabbitmq_computes_and_always_the_same() -> None:
    hashed = filters.rabbitmq_password_hash("pass", "COOKIE", "webhook")
    stored = base64.b64decode(hashed)
    assert stored[4:] == hashlib.sha256(stored[:4] + b"pass").digest()
    assert hashed == filters.rabbitmq_password_hash("pass", "COOKIE", "webhook")


def test_equal_passwords_of_two_users_do_not_show() -> None:
    hashes = {filters.rabbitmq_password_hash("pass", "COOKIE", user) for user in ("webhook", "consumer")}
    assert len(hashes) == 2
