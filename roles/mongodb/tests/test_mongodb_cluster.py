"""Module mongodb_cluster against a real replica set."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pymongo import MongoClient

from lab import backends, paths

Converge = Callable[..., list[str]]
ADMIN = "cluster_test_admin"
ROLE = {
    "name": "cluster_test_role",
    "privileges": [{"resource": {"db": "cluster_test", "collection": "a"}, "actions": ["find", "insert"]}],
}
USER = {
    "name": "cluster_test_user",
    "password": "one",
    "roles": [{"role": "cluster_test_role", "db": "admin"}],
}


def load() -> ModuleType:
    """The module as a Python module."""
    path = Path(__file__).parents[1] / "library" / "mongodb_cluster.py"
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


module = load()


@pytest.fixture(scope="module")
def root() -> Iterator[MongoClient[dict[str, Any]]]:
    """The tests' MongoDB as its own administrator; what these tests made is gone afterwards."""
    services = backends.up()
    client: MongoClient[dict[str, Any]] = MongoClient(services.mongo_url, tlsCAFile=str(services.ca_file))
    clean(client)
    yield client
    clean(client)
    client.close()


def clean(root: MongoClient[dict[str, Any]]) -> None:
    """Drop what these tests made."""
    for user in (ADMIN, "cluster_test_user", "cluster_test_other"):
        if root.admin.command({"usersInfo": user})["users"]:
            root.admin.command({"dropUser": user})
    if root.admin.command({"rolesInfo": "cluster_test_role"})["roles"]:
        root.admin.command({"dropRole": "cluster_test_role"})


@pytest.fixture(scope="module")
def converge(root: MongoClient[dict[str, Any]]) -> Converge:
    """Run the module with changed parameters; returns what it changed."""
    member = root.admin.command("hello")["me"]
    url = urlsplit(backends.up().mongo_url)

    class Here(module.Cluster):  # type: ignore[misc, name-defined]
        """A member that is reached over the network instead of loopback."""

        local_address = f"{url.hostname}:{url.port}"

    def run(*, check_mode: bool = False, **changed: object) -> list[str]:
        params = {
            "replica_set": "rs0",
            "members": [member],
            "local_member": member,
            "tls_ca_file": str(backends.up().ca_file),
            "keyfile": str(paths.state("backends", "keyfile")),
            "admin": {"name": ADMIN, "password": "first"},
            "roles": [ROLE],
            "users": [USER],
            "timeout": 30,
        }
        cluster = Here(params | changed, check_mode=check_mode)
        try:
            cluster.present()
        finally:
            cluster.close()
        changes: list[str] = cluster.changes
        return changes

    return run


@pytest.fixture(autouse=True)
def converged(root: MongoClient[dict[str, Any]], converge: Converge) -> None:
    """Each test begins with what the module made of nothing."""
    clean(root)
    assert converge() == [f"createRole {ROLE['name']}", f"createUser {ADMIN}", f"createUser {USER['name']}"]


def can_log_in(name: str, password: str) -> bool:
    """Whether that is the user's password, asked without the module."""
    services = backends.up()
    url = services.mongo_url.replace(urlsplit(services.mongo_url).netloc.rpartition("@")[0], f"{name}:{password}")
    assert unquote(url) != unquote(services.mongo_url)
    with MongoClient[dict[str, Any]](url, tlsCAFile=str(services.ca_file)) as client:
        try:
            client.admin.command("connectionStatus")
        except module.OperationFailure:
            return False
        return True


def test_a_second_run_changes_nothing(converge: Converge) -> None:
    assert converge() == []


def test_a_changed_password_is_set_once(converge: Converge) -> None:
    changed = {"users": [USER | {"password": "two"}]}
    assert converge(**changed) == [f"updateUser {USER['name']}"]
    assert can_log_in("cluster_test_user", "two")
    assert not can_log_in("cluster_test_user", "one")
    assert converge(**changed) == []


def test_the_administrators_own_password_changes_too(converge: Converge) -> None:
    changed = {"admin": {"name": ADMIN, "password": "second"}}
    assert converge(**changed) == [f"updateUser {ADMIN}"]
    assert can_log_in(ADMIN, "second")
    assert converge(**changed) == []


def test_a_role_that_lost_a_privilege_gets_it_back(converge: Converge, root: MongoClient[dict[str, Any]]) -> None:
    root.admin.command({"updateRole": ROLE["name"], "privileges": []})
    assert converge() == [f"updateRole {ROLE['name']}"]
    assert converge() == []


def test_a_user_who_gained_a_role_loses_it(converge: Converge, root: MongoClient[dict[str, Any]]) -> None:
    root.admin.command({"grantRolesToUser": USER["name"], "roles": [{"role": "root", "db": "admin"}]})
    assert converge() == [f"updateUser {USER['name']}"]
    held = root.admin.command({"usersInfo": USER["name"]})["users"][0]["roles"]
    assert held == [{"role": ROLE["name"], "db": "admin"}]


def test_a_user_that_is_no_longer_described_is_dropped(converge: Converge) -> None:
    assert converge(users=[]) == [f"dropUser {USER['name']}"]


def test_a_user_whom_somebody_else_made_stays(converge: Converge, root: MongoClient[dict[str, Any]]) -> None:
    root.admin.command({"createUser": "cluster_test_other", "pwd": "other", "roles": []})
    assert converge() == []


def test_check_mode_says_what_it_would_do_and_does_nothing(converge: Converge) -> None:
    changed = {"users": [USER | {"password": "two"}], "admin": {"name": ADMIN, "password": "second"}}
    assert converge(check_mode=True, **changed) == [f"updateUser {ADMIN}", f"updateUser {USER['name']}"]
    assert converge() == []


def test_a_set_of_another_name_is_refused(converge: Converge) -> None:
    with pytest.raises(module.ClusterError, match="belongs to replica set rs0, not to rs1"):
        converge(replica_set="rs1")


def test_the_order_and_grouping_of_privileges_is_no_difference() -> None:
    resource = {"db": "d", "collection": "c"}
    apart = [{"resource": resource, "actions": ["insert"]}, {"resource": resource, "actions": ["find"]}]
    together = [{"resource": dict(reversed(resource.items())), "actions": ["find", "insert"]}]
    assert module.privileges_by_resource(apart) == module.privileges_by_resource(together)


def test_a_member_that_was_just_elected_is_waited_for() -> None:
    # What MongoDB answers between the election and the first write that it takes.
    hello = {"me": "db1:27017", "primary": "db1:27017", "isWritablePrimary": False, "secondary": True}
    assert not module.takes_writes(hello)
    assert module.other_primary(hello) is None
    assert module.other_primary({**hello, "primary": "db2:27017"}) == "db2:27017"
