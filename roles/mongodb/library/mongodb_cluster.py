#!/usr/bin/python
"""Ansible module: a replica set, its roles and its users, as described, in one call.

community.mongodb's modules cannot do this honestly: `mongodb_user` either never changes
the password of a user who exists or reports a change on every run. This one finds out
by logging in as each user, and touches nothing that is already right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from pymongo import MongoClient
    from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

    HAS_PYMONGO = True
except ImportError:
    HAS_PYMONGO = False

if TYPE_CHECKING:
    Client: TypeAlias = MongoClient[dict[str, Any]]
Answer = TypeVar("Answer")

DOCUMENTATION = r"""
module: mongodb_cluster
short_description: Keeps a MongoDB replica set, its roles and its users as described
description:
  - Runs on one member of the set. Initiates the set when it is new and adds members that
    are missing, one at a time. A member that is in the set but not described stays, and
    is named in C(unmanaged_members), because removing one is a decision.
  - Roles and users live in database C(admin). A password is compared by logging in with
    it. Users that this module made and that are no longer described are dropped; roles
    that are no longer described stay, with nobody who holds them.
  - Logs in as the administrator. Where that fails (a new set, or the administrator's own
    password is to be changed) it logs in as the set's members do, with the key file, so
    the localhost exception can stay switched off.
options:
  state:
    description: >-
      C(present) makes it so; C(healthy) only waits until the local member is primary or
      secondary, or has no configuration yet.
    type: str
    choices: [present, healthy]
    default: present
  replica_set: {description: Name of the replica set, type: str, required: true}
  members: {description: Every member as host:port, type: list, elements: str, default: []}
  local_member: {description: This host's entry in members, type: str, required: true}
  tls_ca_file: {description: The authority of the members' certificates, type: path, required: true}
  keyfile: {description: The set's key file, type: path, required: true}
  admin:
    description: The administrator, who gets the built-in role root.
    type: dict
    suboptions:
      name: {description: Name, type: str, required: true}
      password: {description: Password, type: str, required: true}
  roles:
    description: Roles of database admin, each a name, privileges and inherited roles.
    type: list
    elements: dict
    default: []
  users:
    description: Users of database admin.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name, type: str, required: true}
      password: {description: Password, type: str, required: true}
      roles: {description: 'A list of {role, db}', type: list, elements: dict, required: true}
  timeout: {description: Seconds to wait for an election or a new member, type: int, default: 60}
"""

EXAMPLES = r"""
- name: Keep the replica set and its users
  mongodb_cluster:
    replica_set: rs0
    members: ["db1:27017"]
    local_member: db1:27017
    tls_ca_file: /etc/mongodb/ca.crt
    keyfile: /etc/mongodb/keyfile
    admin: {name: sdlc_admin, password: "{{ secret_mongodb_admin_password }}"}
    users:
      - name: exporter
        password: "{{ secret_mongodb_exporter_password }}"
        roles: [{role: clusterMonitor, db: admin}]
"""

RETURN = r"""
changes: {description: What was done, or would be, type: list, elements: str, returned: always}
unmanaged_members: {description: Members that are not described, type: list, elements: str, returned: always}
"""

AUTHENTICATION_FAILED = 18
ALREADY_INITIALIZED = 23
NODE_NOT_FOUND = 74
SECONDARY = 2
MECHANISM = "SCRAM-SHA-256"
# Marks the users that this module made, so that it may drop them again.
MANAGED = {"managed_by": "ansible"}


class ClusterError(Exception):
    """Says to the operator what is wrong, and what to do."""


def privileges_by_resource(privileges: Iterable[dict[str, Any]]) -> dict[Any, frozenset[str]]:
    """Privileges as the set of actions on each resource, whatever their order or grouping."""
    merged: dict[Any, set[str]] = {}
    for privilege in privileges:
        resource = tuple(sorted(privilege["resource"].items()))
        merged.setdefault(resource, set()).update(privilege["actions"])
    return {resource: frozenset(actions) for resource, actions in merged.items()}


def grants(roles: Iterable[dict[str, Any]]) -> frozenset[tuple[str, str]]:
    """Granted roles as a set of (role, database)."""
    return frozenset((role["role"], role["db"]) for role in roles)


def takes_writes(hello: dict[str, Any]) -> bool:
    """Whether the member that gave this answer does; one that was just elected names itself before it does."""
    return bool(hello.get("isWritablePrimary"))


def other_primary(hello: dict[str, Any]) -> str | None:
    """The primary that a member's answer names, unless it is that member itself."""
    primary: str | None = hello.get("primary")
    return None if primary == hello.get("me") else primary


class Cluster:
    """One replica set, seen from one of its members."""

    def __init__(self, params: dict[str, Any], *, check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode
        self.changes: list[str] = []
        self.unmanaged_members: list[str] = []
        self.clients: list[Client] = []

    def connect(self, address: str, login: dict[str, str] | None = None) -> Client:
        """A client of exactly that member; `login` holds username, password, authSource."""
        options: dict[str, Any] = dict(login or {})
        if login:
            options["authMechanism"] = MECHANISM
        client: Client = MongoClient(
            address,
            directConnection=True,
            tls=True,
            tlsCAFile=self.params["tls_ca_file"],
            serverSelectionTimeoutMS=10_000,
            connectTimeoutMS=5_000,
            socketTimeoutMS=60_000,
            w="majority",
            **options,
        )
        self.clients.append(client)
        return client

    def close(self) -> None:
        """Close every client."""
        for client in self.clients:
            client.close()

    @property
    def local_address(self) -> str:
        """Where this host reaches its own member."""
        return f"127.0.0.1:{self.params['local_member'].rpartition(':')[2]}"

    def wait(self, what: str, ready: Callable[[], Answer | None]) -> Answer:
        """The first true answer of `ready`; elections and restarts in between are patience."""
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            try:
                answer = ready()
                if answer:
                    return answer
                last = "not yet"
            except AutoReconnect as error:
                last = str(error)
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{what} did not come in {self.params['timeout']} s ({last}). "
                    "See mongod.log on the members, in mongodb_log_directory (/var/log/mongodb)."
                )
            time.sleep(0.2)

    def healthy(self) -> None:
        """Wait until the local member serves, or is new and waits for its configuration."""
        local = self.connect(self.local_address)

        def serves() -> bool:
            hello = local.admin.command("hello")
            if hello.get("isreplicaset"):
                return True
            return bool(hello.get("isWritablePrimary") or hello.get("secondary"))

        self.wait("A healthy member", serves)

    def member_login(self) -> dict[str, str]:
        """The login with which members know each other: whoever reads the key file has it."""
        key = "".join(Path(self.params["keyfile"]).read_text().split())
        return {"username": "__system", "password": key, "authSource": "local"}

    def initiate(self) -> bool:
        """Initiate a new set. False when that was due and check mode forbade it."""
        local = self.connect(self.local_address)
        hello = self.wait("An answer", lambda: local.admin.command("hello"))
        if hello.get("setName") == self.params["replica_set"]:
            return True
        if "setName" in hello:
            raise ClusterError(
                f"This member belongs to replica set {hello['setName']}, not to "
                f"{self.params['replica_set']}; a set cannot be renamed."
            )
        if self.check_mode:
            self.changes.append(f"initiate replica set {self.params['replica_set']}")
            return False
        config = {
            "_id": self.params["replica_set"],
            "members": [{"_id": number, "host": host} for number, host in enumerate(self.params["members"])],
        }
        root = self.connect(self.local_address, self.member_login())

        def initiated() -> bool:
            try:
                root.admin.command("replSetInitiate", config)
            except OperationFailure as error:
                if error.code == NODE_NOT_FOUND:  # a member that is still starting
                    return False
                if error.code != ALREADY_INITIALIZED:
                    raise
            else:
                self.changes.append(f"initiate replica set {self.params['replica_set']}")
            return True

        return self.wait("An answer of every member", initiated)

    def find_primary(self) -> str:
        """The primary's address; the loopback one where it is this member."""
        local = self.connect(self.local_address)

        def elected() -> str | None:
            hello = local.admin.command("hello")
            return self.local_address if takes_writes(hello) else other_primary(hello)

        address = self.wait("An elected primary", elected)
        primary = local if address == self.local_address else self.connect(address)
        self.wait(f"A primary {address} that takes writes", lambda: takes_writes(primary.admin.command("hello")))
        return address

    def can_log_in(self, address: str, name: str, password: str) -> bool:
        """Whether that password is the user's."""
        client = self.connect(address, {"username": name, "password": password, "authSource": "admin"})
        try:
            client.admin.command("connectionStatus")
        except OperationFailure as error:
            if error.code != AUTHENTICATION_FAILED:
                raise
            return False
        return True

    def open(self, address: str) -> Client:
        """A client with full rights on the primary."""
        admin = self.params["admin"]
        if self.can_log_in(address, admin["name"], admin["password"]):
            return self.clients[-1]
        return self.connect(address, self.member_login())

    def add_members(self, root: Client) -> None:
        """Bring the set's members to those described, one voting member at a time."""
        present = [m["host"] for m in root.admin.command("replSetGetConfig")["config"]["members"]]
        self.unmanaged_members = [h for h in present if h not in self.params["members"]]
        for host in self.params["members"]:
            if host in present:
                continue
            self.changes.append(f"add member {host}")
            if self.check_mode:
                continue
            config = root.admin.command("replSetGetConfig")["config"]
            number = 1 + max(member["_id"] for member in config["members"])
            config["members"].append({"_id": number, "host": host})
            config["version"] += 1
            root.admin.command("replSetReconfig", config)

            def joined(host: str = host) -> bool:
                status = root.admin.command("replSetGetStatus")
                return any(m["name"] == host and m["state"] == SECONDARY for m in status["members"])

            self.wait(f"Member {host} as a secondary", joined)

    def set_roles(self, root: Client) -> None:
        """Create the roles that are missing, update those that differ."""
        found = {role["role"]: role for role in root.admin.command({"rolesInfo": 1, "showPrivileges": True})["roles"]}
        for role in self.params["roles"]:
            wanted = {
                "privileges": role.get("privileges", []),
                "roles": role.get("roles", []),
            }
            current = found.get(role["name"])
            if current is None:
                verb = "createRole"
            elif privileges_by_resource(current["privileges"]) != privileges_by_resource(
                wanted["privileges"]
            ) or grants(current["roles"]) != grants(wanted["roles"]):
                verb = "updateRole"
            else:
                continue
            self.changes.append(f"{verb} {role['name']}")
            if not self.check_mode:
                root.admin.command({verb: role["name"], **wanted})

    def set_users(self, root: Client, address: str) -> None:
        """Create, update and drop users; their roles exist by now."""
        found = {user["user"]: user for user in root.admin.command({"usersInfo": 1})["users"]}
        admin = {**self.params["admin"], "roles": [{"role": "root", "db": "admin"}]}
        described = [admin, *self.params["users"]]
        for user in described:
            wanted: dict[str, Any] = {
                "roles": user["roles"],
                "mechanisms": [MECHANISM],
                "customData": MANAGED,
            }
            current = found.get(user["name"])
            if current is None:
                verb = "createUser"
                wanted["pwd"] = user["password"]
            else:
                verb = "updateUser"
                password_differs = not self.can_log_in(address, user["name"], user["password"])
                if password_differs or current.get("mechanisms") != [MECHANISM]:
                    wanted["pwd"] = user["password"]
                elif grants(current["roles"]) == grants(user["roles"]) and current.get("customData") == MANAGED:
                    continue
            self.changes.append(f"{verb} {user['name']}")
            if not self.check_mode:
                root.admin.command({verb: user["name"], **wanted})
        names = {user["name"] for user in described}
        for name, user in found.items():
            if name not in names and user.get("customData") == MANAGED:
                self.changes.append(f"dropUser {name}")
                if not self.check_mode:
                    root.admin.command({"dropUser": name})

    def present(self) -> None:
        """Make it so."""
        if self.params["local_member"] not in self.params["members"]:
            raise ClusterError("local_member is none of members.")
        if not self.initiate():
            return
        address = self.find_primary()
        root = self.open(address)
        self.add_members(root)
        self.set_roles(root)
        self.set_users(root, address)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "healthy"], "default": "present"},
            "replica_set": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "default": []},
            "local_member": {"type": "str", "required": True},
            "tls_ca_file": {"type": "path", "required": True},
            "keyfile": {"type": "path", "required": True, "no_log": False},
            "admin": {
                "type": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                },
            },
            "roles": {"type": "list", "elements": "dict", "default": []},
            "users": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "roles": {"type": "list", "elements": "dict", "required": True},
                },
            },
            "timeout": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ("members", "admin"))],
        supports_check_mode=True,
    )
    if not HAS_PYMONGO:
        module.fail_json(msg=missing_required_lib("pymongo"))
    cluster = Cluster(module.params, check_mode=module.check_mode)
    try:
        if module.params["state"] == "healthy":
            cluster.healthy()
        else:
            cluster.present()
    except OperationFailure as error:
        # The server's message only: a failed command's details may repeat its arguments.
        module.fail_json(msg=f"MongoDB refused: {error.code} {error.args[0]}")
    except (ClusterError, PyMongoError, OSError) as error:
        module.fail_json(msg=str(error), changes=cluster.changes)
    finally:
        cluster.close()
    module.exit_json(
        changed=bool(cluster.changes),
        changes=cluster.changes,
        unmanaged_members=cluster.unmanaged_members,
    )


if __name__ == "__main__":
    main()
