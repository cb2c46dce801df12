"""`sdlc-agents api-keys`, as an operator runs it in the container."""

import asyncio
import sys

import httpx
import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from support.apikeys import MakeKey
from support.backends import Backends
from support.database_users import DatabaseUsers, database_users_of
from support.processes import bare_environment


@pytest.fixture
def environment(database_users: DatabaseUsers, db: Database) -> dict[str, str]:
    del db  # its validators are needed
    # It has the rights of the container that it runs in.
    return bare_environment() | database_users.environment("configuration")


async def api_keys(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sdlc_agents.commands.cli", "api-keys", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_key_is_the_only_thing_on_standard_output_and_opens_the_api(
    environment: dict[str, str], anonymous: httpx.AsyncClient, db: Database
) -> None:
    code, out, err = await api_keys(environment, "create", "--name", "ci", "--scope", "read", "--scope", "write")
    key = out.removesuffix("\n")
    assert (code, out.count("\n")) == (0, 1)
    assert key not in err
    assert (await anonymous.get("/api/projects", headers={"X-API-Key": key})).status_code == 200
    assert (await anonymous.get("/api/api-keys", headers={"X-API-Key": key})).status_code == 403
    entry = await db["audit_log"].find_one({"action": "api_key.created"})
    assert entry is not None
    assert entry["actor"]["key_id"] == "operator"
    assert (entry["after"]["name"], entry["after"]["scopes"]) == ("ci", ["read", "write"])


async def test_what_the_list_names_can_be_revoked(
    environment: dict[str, str], anonymous: httpx.AsyncClient, make_key: MakeKey
) -> None:
    until = "2999-12-31T00:00:00Z"
    _, out, _ = await api_keys(environment, "create", "--name", "ci", "--scope", "read", "--expires-at", until)
    key = out.strip()
    await make_key("admin")
    code, out, _ = await api_keys(environment, "list")
    listed = {entry["name"]: entry for entry in map(orjson.loads, out.splitlines())}
    assert (code, {name: entry["expires_at"] for name, entry in listed.items()}) == (0, {"admin": None, "ci": until})
    assert key not in out
    assert (await api_keys(environment, "revoke", listed["ci"]["id"]))[:2] == (0, "")
    assert (await anonymous.get("/api/projects", headers={"X-API-Key": key})).status_code == 403
    code, out, err = await api_keys(environment, "revoke", listed["admin"]["id"])
    assert (code, out) == (1, "")
    assert "last valid API key" in err


async def test_every_page_is_listed(
    environment: dict[str, str], make_key: MakeKey, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sdlc_agents.commands import api_keys  # noqa: PLC0415

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for _ in range(5):
        await make_key("read")
    monkeypatch.setattr(api_keys, "_PAGE", 2)
    await asyncio.to_thread(api_keys.run, ["list"])
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 64, "command"),
        (("destroy",), 64, "invalid choice"),
        (("create", "--name", "x"), 64, "--scope"),
        (("create", "--name", "x", "--scope", "root"), 64, "root"),
        (("create", "--name", "", "--scope", "read"), 1, "name: "),
        (("create", "--name", "x", "--scope", "read", "--expires-at", "tomorrow"), 1, "expires_at: "),
        (("revoke", "0" * 24), 1, "no such API key"),
    ],
)
async def test_what_cannot_be_done_is_said_on_standard_error(
    environment: dict[str, str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    ended, out, err = await api_keys(environment, *arguments)
    assert (ended, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


async def test_a_database_of_another_release_is_left_alone(backends: Backends, database_name: str) -> None:
    with database_users_of(backends, f"{database_name}_never_migrated") as users:
        other = bare_environment() | users.environment("configuration")
        code, out, err = await api_keys(other, "create", "--name", "x", "--scope", "read")
    assert (code, out) == (1, "")
    assert "schema version 0" in err
