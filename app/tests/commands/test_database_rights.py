"""The roles that Ansible gives the services' users are the rights that the code declares: no more and no fewer."""

from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from sdlc_agents.commands.database_rights import USERS
from sdlc_agents.kernel.rights import EVERY_COLLECTION, Action, Resource, Rights, rights, together

GROUP_VARS = Path(__file__).resolve().parents[3] / "group_vars" / "all" / "mongodb.yml"
OF_MONGODB = {"", "admin", "config", "local"}
# Roles of MongoDB's own, for what is no service's: restic's dumps.
BUILT_IN = {"backup": [{"role": "backup", "db": "admin"}]}


def _resource(given: dict[str, Any]) -> Resource:
    if given.get("cluster"):
        assert set(given) == {"cluster"}
        return Resource(cluster=True)
    database = given["db"]
    return Resource(given["collection"], database if database in OF_MONGODB else None)


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(GROUP_VARS.read_text(encoding="utf-8"))
    return found


def _granted(described: dict[str, Any], user: dict[str, Any]) -> Rights:
    roles = {role["name"]: role for role in described["mongodb_roles"]}
    granted: list[Rights] = []
    for given in user["roles"]:
        assert given["db"] == "admin"
        role = roles[given["role"]]
        assert set(role) == {"name", "privileges"}, "a role that inherits grants more than it says"
        granted += [
            rights(*map(Action, privilege["actions"]), on=_resource(privilege["resource"]))
            for privilege in role["privileges"]
        ]
    return together(*granted)


def test_there_is_a_user_for_each_service_and_each_has_its_rights_and_no_other(described: dict[str, Any]) -> None:
    users = {user["name"]: user for user in described["mongodb_users"]}
    assert users.keys() == USERS.keys() | BUILT_IN.keys()
    for name, declared in USERS.items():
        assert _granted(described, users[name]) == declared, name
    for name, roles in BUILT_IN.items():
        assert users[name]["roles"] == roles


def test_no_role_is_there_that_no_user_has(described: dict[str, Any]) -> None:
    given = {role["role"] for user in described["mongodb_users"] for role in user["roles"]}
    assert {role["name"] for role in described["mongodb_roles"]} <= given


def test_no_service_that_serves_anybody_may_change_the_databases_shape() -> None:
    shaping = {Action.CREATE_COLLECTION, Action.COLL_MOD, Action.CREATE_INDEX, Action.DROP_INDEX}
    for name, declared in USERS.items():
        if name != "migrate":
            assert EVERY_COLLECTION not in declared, name
            assert not [actions for actions in declared.values() if actions & shaping], name


def test_nobody_changes_or_removes_what_the_audit_log_holds() -> None:
    audit_log = Resource("audit_log")
    for name, declared in USERS.items():
        assert declared.get(audit_log, frozenset()) <= {Action.FIND, Action.INSERT}, name
