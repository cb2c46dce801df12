"""Field-level encryption of secrets in documents, by MongoDB's explicit client-side encryption.

A data key stands in the key vault collection `encryption_keys` of the same database, wrapped by the local master key
FIELD_ENCRYPTION_KEY (96 bytes), which the database never sees. Values are encrypted with
AEAD_AES_256_CBC_HMAC_SHA_512-Random, so equal values do not look equal.
https://www.mongodb.com/docs/manual/core/csfle/fundamentals/manual-encryption/
"""

import base64

from bson.binary import Binary
from bson.codec_options import CodecOptions
from pymongo.asynchronous.encryption import AsyncClientEncryption
from pymongo.encryption_shared import Algorithm
from pymongo.errors import EncryptionError

from sdlc_agents.errors import ServiceError
from sdlc_agents.mongo import Database, Document
from sdlc_agents.settings import EncryptionSettings

KEY_VAULT = "encryption_keys"
KEY_ALT_NAME = "sdlc-fields"


class FieldEncryptionError(ServiceError):
    """A value cannot be encrypted or decrypted: no data key yet, or another master key."""

    code = "field_encryption_failed"


def master_key(settings: EncryptionSettings) -> bytes:
    """The master key's 96 bytes."""
    return base64.b64decode(settings.field_encryption_key.get_secret_value())


class FieldCipher:
    """Encrypts and decrypts single strings. Close it when done.

    Rights in the database: `find` on `encryption_keys`, and `ensure_key` also `insert`.
    """

    def __init__(self, db: Database, key: bytes) -> None:
        self._encryption: AsyncClientEncryption[Document] = AsyncClientEncryption(
            {"local": {"key": key}}, f"{db.name}.{KEY_VAULT}", db.client, CodecOptions(tz_aware=True)
        )

    async def ensure_key(self) -> bool:
        """Make the data key unless there is one; True when it was made.

        The key vault's unique index on `keyAltNames` (see `sdlc_agents.migrations`) keeps two from making one each.
        """
        if await self._encryption.get_key_by_alt_name(KEY_ALT_NAME) is not None:
            return False
        await self._encryption.create_data_key("local", key_alt_names=[KEY_ALT_NAME])
        return True

    async def encrypt(self, value: str) -> Binary:
        """The value as BSON binary of subtype 6."""
        try:
            return await self._encryption.encrypt(
                value, Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random, key_alt_name=KEY_ALT_NAME
            )
        except EncryptionError as error:
            raise FieldEncryptionError("a value could not be encrypted") from error

    async def decrypt(self, value: Binary) -> str:
        """The string that `encrypt` was given."""
        try:
            return str(await self._encryption.decrypt(value))
        except EncryptionError as error:
            raise FieldEncryptionError("a stored value could not be decrypted: another master key?") from error

    async def close(self) -> None:
        """Free the key material."""
        await self._encryption.close()
