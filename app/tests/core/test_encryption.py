"""Field-level encryption."""

import pytest

from sdlc_agents.encryption import KEY_VAULT, FieldCipher, FieldEncryptionError, master_key
from sdlc_agents.mongo import Database
from support.backends import EveryService, MakeSettings


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
