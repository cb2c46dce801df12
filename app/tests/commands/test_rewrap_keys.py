"""The master key is changed while services read."""

import asyncio
import base64
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import orjson
import pytest
from bson.binary import Binary

from sdlc_agents.kernel.encryption import KEY_ALT_NAME, KEY_VAULT, FieldCipher, FieldEncryptionError, master_key
from sdlc_agents.kernel.mongo import Database
from support.backends import Backends, EveryService, MakeSettings
from support.database_users import DatabaseUsers, database_users_of
from support.processes import bare_environment


def new_master_key() -> str:
    return base64.b64encode(secrets.token_bytes(96)).decode()


@pytest.fixture
def users(backends: Backends, fresh: Database) -> Iterator[DatabaseUsers]:
    with database_users_of(backends, fresh.name) as made:
        yield made


@pytest.fixture
def old() -> str:
    return new_master_key()


@asynccontextmanager
async def cipher(
    db: Database, make_settings: MakeSettings, key: str, previous: str | None = None
) -> AsyncIterator[FieldCipher]:
    given = {"field_encryption_key": key, "field_encryption_key_previous": previous}
    field_cipher = FieldCipher(db, master_key(make_settings(EveryService, **given)))
    try:
        yield field_cipher
    finally:
        await field_cipher.close()


async def rewrap(users: DatabaseUsers, key: str, previous: str) -> tuple[int, dict[str, object]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sdlc_agents.commands.cli", "rewrap-keys"),
        env={
            **bare_environment(),
            # It has the rights of the container that it runs in.
            **users.environment("configuration"),
            "FIELD_ENCRYPTION_KEY": key,
            "FIELD_ENCRYPTION_KEY_PREVIOUS": previous,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    assert key.encode() not in out
    return process.returncode, orjson.loads(out.splitlines()[-1])


async def test_services_read_through_a_rotation_and_the_old_key_opens_nothing_afterwards(
    fresh: Database, users: DatabaseUsers, make_settings: MakeSettings, old: str
) -> None:
    new = new_master_key()
    async with cipher(fresh, make_settings, old) as before:
        await before.ensure_key()
        stored = await before.encrypt("token")
    rotated = asyncio.Event()
    reads = 0

    async def read() -> None:
        """A service that has both keys; each cipher asks the database for the data key anew."""
        nonlocal reads
        while not rotated.is_set():
            async with cipher(fresh, make_settings, new, old) as service:
                assert await service.decrypt(stored) == "token"
            reads += 1

    reading = asyncio.create_task(read())
    code, said = await rewrap(users, new, old)
    rotated.set()
    await reading
    assert (code, said["event"], said["changed"]) == (0, "rewrapping_finished", True)
    assert reads > 1
    async with cipher(fresh, make_settings, new) as service:
        assert await service.decrypt(stored) == "token"
    async with cipher(fresh, make_settings, old) as former:
        with pytest.raises(FieldEncryptionError):
            await former.decrypt(stored)
    assert (await rewrap(users, new, old))[1]["changed"] is False


async def test_a_data_key_from_before_keys_had_names_is_read_and_rewrapped(
    fresh: Database, make_settings: MakeSettings, old: str
) -> None:
    from pymongo.asynchronous.encryption import AsyncClientEncryption  # noqa: PLC0415

    raw = base64.b64decode(old)
    unnamed = AsyncClientEncryption(  # type: ignore[var-annotated]
        {"local": {"key": raw}}, f"{fresh.name}.{KEY_VAULT}", fresh.client, fresh.codec_options
    )
    await unnamed.create_data_key("local", key_alt_names=[KEY_ALT_NAME])
    await unnamed.close()
    async with cipher(fresh, make_settings, old) as service:
        stored: Binary = await service.encrypt("token")
    async with cipher(fresh, make_settings, new_master_key(), old) as service:
        assert await service.decrypt(stored) == "token"
        assert await service.rewrap() is True
        assert await service.rewrap() is False


async def test_a_data_key_of_neither_master_key_is_left_as_it_is(
    fresh: Database, users: DatabaseUsers, make_settings: MakeSettings, old: str
) -> None:
    async with cipher(fresh, make_settings, old) as before:
        await before.ensure_key()
    kept = await fresh[KEY_VAULT].find_one()
    code, said = await rewrap(users, new_master_key(), new_master_key())
    assert (code, said["event"]) == (1, "rewrapping_failed")
    assert await fresh[KEY_VAULT].find_one() == kept
