"""Field-level encryption."""

import pytest

from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.encryption import KEY_VAULT, FieldCipher, FieldEncryptionError, master_key
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database
from support.backends import EveryService, MakeSettings
from support.proxy import CuttableProxy


async def test_a_value_comes_back(cipher: FieldCipher) -> None:
    assert await cipher.decrypt(await cipher.encrypt("Grüße 🔑")) == "Grüße 🔑"


async def test_equal_values_do_not_look_equal(cipher: FieldCipher) -> None:
    assert await cipher.encrypt("token") != await cipher.encrypt("token")


async def test_there_is_one_data_key_however_often_it_is_ensured(db: Database, cipher: FieldCipher) -> None:
    assert await cipher.ensure_key() is False
    assert await db[KEY_VAULT].count_documents({}) == 1


async def test_another_master_key_decrypts_nothing(
    db: Database, cipher: FieldCipher, make_settings: MakeSettings
) -> None:
    value = await cipher.encrypt("token")
    other = FieldCipher(db, master_key(make_settings(EveryService, field_encryption_key="A" * 128)))
    with pytest.raises(FieldEncryptionError):
        await other.decrypt(value)
    await other.close()


async def test_without_the_database_no_key_is_blamed(
    cipher: FieldCipher, mongo_proxy: CuttableProxy, make_settings: MakeSettings
) -> None:
    value = await cipher.encrypt("token")
    settings = make_settings(EveryService, mongo_url=mongo_proxy.url)
    await mongo_proxy.cut()
    async with mongo.connect(settings, application="tests", timeoutMS=500) as client:
        other = FieldCipher(mongo.database(client, settings), master_key(settings))
        for call in (lambda: other.decrypt(value), lambda: other.encrypt("token"), other.rewrap):
            with pytest.raises(UnavailableError):
                await call()
        await other.close()
