"""MongoDB, asked by clients on the host itself: whom it refuses, and what each service's user may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from wiring import constants, port, text

PORT, DATABASE = port("mongodb_port"), text("app_mongo_database")
# Runs on the host, where the database is reached; facts and passwords come with it on standard input.
CLIENT = constants(PORT=PORT, CA=f"{text('pki_directory')}/ca.crt", DATABASE=DATABASE)
CLIENT += """
import json, socket, ssl
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

def connect(tls=True, user=None, password=None, mechanism="SCRAM-SHA-256", database=None):
    login = dict(username=user, password=password, authSource="admin", authMechanism=mechanism) if user else {}
    security = dict(tls=True, tlsCAFile=CA) if tls else {}
    return MongoClient("127.0.0.1", PORT, directConnection=True, serverSelectionTimeoutMS=3000, **security, **login)

def ask(command, database=DATABASE, **options):
    try:
        return {"ok": connect(**options)[database].command(command)["ok"]}
    except OperationFailure as error:
        return {"refused": error.code}
    except AutoReconnect as error:
        return {"unreachable": str(error)}

def hello():
    answer = connect().admin.command("hello")
    return {name: answer[name] for name in ("setName", "hosts", "isWritablePrimary")}

def granted(password):
    client = connect(user="sdlc_admin", password=password)
    roles = client.admin.command({"rolesInfo": 1, "showPrivileges": True})["roles"]
    users = client.admin.command({"usersInfo": 1})["users"]
    return {
        "roles": {one["role"]: {"privileges": one["privileges"], "inherits": one["roles"]} for one in roles},
        "users": {one["user"]: one["roles"] for one in users},
    }

def handshake(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CA)
    # This side offers whatever is asked for, so that it is the server that refuses.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as secured:
                return secured.version()
        except ssl.SSLError as error:
            return error.reason

print(json.dumps(globals()[CALL](*ARGUMENTS, **OPTIONS)))
"""
UNAUTHORIZED, AUTHENTICATION_FAILED, MECHANISM_UNAVAILABLE = 13, 18, 334

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def on_host(client_on_host: Callable[[str], Ask]) -> Ask:
    """Call a function of CLIENT on the host."""
    return client_on_host(CLIENT)


def test_it_is_the_primary_of_a_replica_set_of_named_members(on_host: Ask, lab: Any) -> None:
    expected = {"setName": text("mongodb_replica_set"), "hosts": [f"{lab.name}:{PORT}"], "isWritablePrimary": True}
    assert on_host("hello") == expected


def test_a_client_that_does_not_log_in_is_refused(on_host: Ask) -> None:
    assert on_host("ask", {"find": "projects", "limit": 1}) == {"refused": UNAUTHORIZED}


def test_a_wrong_password_is_refused(on_host: Ask) -> None:
    answer = on_host("ask", {"ping": 1}, user="sdlc_admin", password="wrong")
    assert answer == {"refused": AUTHENTICATION_FAILED}


def test_nobody_may_make_the_first_user_by_the_localhost_exception(on_host: Ask) -> None:
    user = {"createUser": "intruder", "pwd": "intruder", "roles": ["root"]}
    assert on_host("ask", user, database="admin") == {"refused": UNAUTHORIZED}


def test_a_plain_text_client_is_refused(on_host: Ask) -> None:
    assert "unreachable" in on_host("ask", {"ping": 1}, tls=False)
    assert on_host("ask", {"ping": 1}) == {"ok": 1}


def test_it_speaks_tls_1_2_and_1_3_and_nothing_older(on_host: Ask) -> None:
    assert on_host("handshake", "TLSv1_2") == "TLSv1.2"
    assert on_host("handshake", "TLSv1_3") == "TLSv1.3"
    assert on_host("handshake", "TLSv1_1") == "TLSV1_ALERT_PROTOCOL_VERSION"


def test_the_old_password_mechanism_is_off(on_host: Ask, secrets: Mapping[str, str]) -> None:
    password = secrets["secret_mongodb_admin_password"]
    answer = on_host("ask", {"ping": 1}, user="sdlc_admin", password=password, mechanism="SCRAM-SHA-1")
    assert answer["refused"] in (AUTHENTICATION_FAILED, MECHANISM_UNAVAILABLE)


def find(collection: str) -> dict[str, Any]:
    return {"find": collection, "limit": 1}


def insert(collection: str) -> dict[str, Any]:
    return {"insert": collection, "documents": [{"_id": "a test's"}]}


def remove(collection: str) -> dict[str, Any]:
    return {"delete": collection, "deletes": [{"q": {"_id": "a test's"}, "limit": 1}]}


def expire(collection: str) -> dict[str, Any]:
    return {"createIndexes": collection, "indexes": [{"key": {"at": 1}, "name": "at", "expireAfterSeconds": 1}]}


def update(collection: str) -> dict[str, Any]:
    return {"update": collection, "updates": [{"q": {"_id": "a test's"}, "u": {"$set": {"name": "a test's"}}}]}


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("webhook", find("projects")),
        ("webhook", update("project_triggers")),
        ("configuration", update("audit_log")),
        ("configuration", insert("agent_events")),
        ("configuration", insert("developments")),
        ("configuration", insert("webhook_events")),
        ("configuration", remove("developments")),
        ("configuration", update("project_checks")),
        ("consumer", find("project_triggers")),
        ("consumer", update("projects")),
        ("consumer", insert("project_checks")),
        ("consumer", update("encryption_keys")),
        ("webhook", find("api_keys")),
        ("webhook", remove("webhook_events")),
        ("configuration", find("agent_jobs")),
        ("configuration", find("pull_request_watches")),
        ("consumer", remove("pull_request_watches")),
        ("configuration", remove("audit_log")),
        ("configuration", {"dropDatabase": 1}),
        ("consumer", insert("projects")),
        ("consumer", find("api_keys")),
        ("gateway", find("projects")),
        ("gateway", find("developments")),
        ("gateway", insert("agent_jobs")),
        ("gateway", remove("llm_spending")),
        ("consumer", update("llm_spending")),
        ("exporter", find("projects")),
        ("backup", insert("projects")),
        # The webhook API queues developments; it neither reads nor changes one.
        ("webhook", find("developments")),
        ("webhook", update("developments")),
        # Nobody who serves requests can shape the database: a time to live would empty the audit log.
        ("configuration", {"collMod": "audit_log"}),
        ("configuration", expire("audit_log")),
        ("configuration", {"create": "another"}),
        ("configuration", remove("api_keys")),
        ("configuration", update("agent_events")),
        ("configuration", insert("encryption_keys")),
        ("configuration", insert("schema_version")),
        ("configuration", update("schema_version")),
        ("configuration", find("project_triggers")),
        ("consumer", find("webhook_events")),
        ("consumer", find("agent_events")),
        ("exporter", find("agent_events")),
        ("exporter", find("developments")),
        ("exporter", find("api_keys")),
        ("migrate", find("projects")),
        ("migrate", find("agent_events")),
        ("migrate", find("audit_log")),
        ("migrate", update("audit_log")),
        ("migrate", remove("developments")),
        ("migrate", {"dropDatabase": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(str(part) for part in next(iter(value.items()))),
)
def test_a_user_may_not_do_what_its_service_does_not(
    on_host: Ask, secrets: Mapping[str, str], user: str, command: dict[str, Any]
) -> None:
    password = secrets[f"secret_mongodb_{user}_password"]
    assert on_host("ask", command, user=user, password=password) == {"refused": UNAUTHORIZED}


@pytest.mark.parametrize(
    ("user", "database", "command"),
    [
        ("webhook", DATABASE, find("webhook_events")),
        ("webhook", DATABASE, find("project_triggers")),
        ("configuration", DATABASE, find("projects")),
        ("configuration", DATABASE, update("project_triggers")),
        ("configuration", DATABASE, remove("project_triggers")),
        ("configuration", DATABASE, find("project_checks")),
        ("configuration", DATABASE, update("api_keys")),
        ("configuration", DATABASE, update("developments")),
        ("configuration", DATABASE, find("agent_events")),
        ("configuration", DATABASE, find("audit_log")),
        ("configuration", DATABASE, update("encryption_keys")),
        ("migrate", DATABASE, {"collMod": "audit_log"}),
        ("migrate", DATABASE, update("agent_events")),
        ("webhook", DATABASE, find("schema_version")),
        ("consumer", DATABASE, find("projects")),
        ("consumer", DATABASE, update("project_checks")),
        ("consumer", DATABASE, update("developments")),
        ("consumer", DATABASE, update("pull_request_watches")),
        ("gateway", DATABASE, find("agent_jobs")),
        ("gateway", DATABASE, update("llm_spending")),
        ("consumer", DATABASE, find("llm_spending")),
        ("exporter", "admin", {"serverStatus": 1}),
        ("exporter", "admin", {"serverStatus": 1, "oplog": 1}),
        ("exporter", "local", {"collStats": "oplog.rs"}),
        ("exporter", "local", {"dbStats": 1}),
        ("exporter", "admin", {"replSetGetStatus": 1}),
        ("backup", DATABASE, find("projects")),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(str(part) for part in next(iter(value.items()))),
)
def test_a_user_may_do_what_its_service_does(
    on_host: Ask, secrets: Mapping[str, str], user: str, database: str, command: dict[str, Any]
) -> None:
    password = secrets[f"secret_mongodb_{user}_password"]
    assert on_host("ask", command, database=database, user=user, password=password) == {"ok": 1}


@pytest.mark.parametrize(("database", "collection"), [("local", "oplog.rs"), ("admin", "system.users")])
@pytest.mark.parametrize("user", ["exporter", "webhook", "configuration", "consumer", "gateway", "migrate"])
def test_nobody_but_the_backup_reads_what_passed_through_the_oplog(
    on_host: Ask, secrets: Mapping[str, str], user: str, database: str, collection: str
) -> None:
    password = secrets[f"secret_mongodb_{user}_password"]
    answer = on_host("ask", find(collection), database=database, user=user, password=password)
    assert answer == {"refused": UNAUTHORIZED}


def test_the_roles_and_users_are_those_that_stand_in_the_group_vars(on_host: Ask, secrets: Mapping[str, str]) -> None:
    said = (Path(__file__).resolve().parents[3] / "group_vars" / "all" / "mongodb.yml").read_text()
    described = yaml.safe_load(said.replace("{{ app_mongo_database }}", DATABASE))
    found = on_host("granted", secrets["secret_mongodb_admin_password"])
    wanted = {role["name"]: comparable(role["privileges"]) for role in described["mongodb_roles"]}
    ours = {name: role for name, role in found["roles"].items() if name.startswith("sdlc_")}
    assert {name: comparable(role["privileges"]) for name, role in ours.items()} == wanted
    assert not [role for role in ours.values() if role["inherits"]]
    users = {user["name"]: user["roles"] for user in described["mongodb_users"]}
    assert {name: roles for name, roles in found["users"].items() if name != "sdlc_admin"} == users


def comparable(privileges: list[dict[str, Any]]) -> list[tuple[list[Any], list[str]]]:
    return sorted((sorted(one["resource"].items()), sorted(one["actions"])) for one in privileges)


def test_it_is_not_reached_from_another_host(host: Any, lab: Any, outside: Any) -> None:
    assert host.socket(f"tcp://{lab.address}:{PORT}").is_listening
    assert outside.run(f"nc -z -w 3 {lab.address} {PORT}").rc != 0


def test_its_limits_are_those_of_the_size(host: Any) -> None:
    shown = host.check_output("systemctl show mongod -p MemoryMax -p CPUQuotaPerSecUSec -p LimitNOFILE").splitlines()
    assert set(shown) == {"MemoryMax=4294967296", "CPUQuotaPerSecUSec=2s", "LimitNOFILE=64000"}


def test_its_log_is_json_and_holds_no_password(host: Any, secrets: Mapping[str, str]) -> None:
    log = host.file(f"{text('mongodb_log_directory')}/mongod.log").content_string
    # mongod begins anew after a restart with an empty line.
    assert all(json.loads(line) for line in log.split("\n") if line)
    passwords = [value for name, value in secrets.items() if name.startswith("secret_mongodb_")]
    assert not [password for password in passwords if password.strip() in log]
