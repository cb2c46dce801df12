"""Field-level encryption of secrets in documents, by MongoDB's explicit client-side encryption.

A data key stands in the key vault collection `encryption_keys` of the same database, wrapped by the local master key
FIELD_ENCRYPTION_KEY (96 bytes), which the database never sees. Values are encrypted with
AEAD_AES_256_CBC_HMAC_SHA_512-Random, so equal values do not look equal.

The master key is rotated without a stop: services are given the new key and, in FIELD_ENCRYPTION_KEY_PREVIOUS, the one
before it, and read with either; then `sdlc-agents rewrap-keys` wraps the data key with the new one, no value is written
again, and the previous key may go. The data key's document names the master key that wraps it by its fingerprint.
https://www.mongodb.com/docs/manual/core/csfle/fundamentals/manual-encryption/
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bson.binary import Binary
from bson.codec_options import CodecOptions
from pymongo.asynchronous.encryption import AsyncClientEncryption
from pymongo.encryption_shared import Algorithm
from pymongo.errors import EncryptionError

from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import Database, Document, is_outage
from sdlc_agents.kernel.rights import Action, rights, together
from sdlc_agents.kernel.settings import EncryptionSettings

KEY_VAULT = "encryption_keys"
KEY_ALT_NAME = "sdlc-fields"
RIGHTS = rights(Action.FIND, on=KEY_VAULT)
RIGHTS_TO_MAKE_KEY = together(RIGHTS, rights(Action.INSERT, on=KEY_VAULT))
RIGHTS_TO_REWRAP = together(RIGHTS, rights(Action.UPDATE, on=KEY_VAULT))


class FieldEncryptionError(ServiceError):
    """A value cannot be encrypted or decrypted: no data key yet, or another master key."""

    code = "field_encryption_failed"


@dataclass(frozen=True)
class MasterKeys:
    """The master key that wraps, and the one before it, with which may still be read; 96 bytes each."""

    current: bytes
    previous: bytes | None = None

    @property
    def provider(self) -> str:
        """The current key's name in the data key's document."""
        return _provider(self.current)

    def providers(self) -> dict[str, dict[str, Any]]:
        """Both keys by their names, and by `local` alone the one that wrapped before keys had names."""
        known = {_provider(key): {"key": key} for key in (self.current, self.previous) if key is not None}
        return {**known, "local": {"key": self.previous or self.current}}


def master_key(settings: EncryptionSettings) -> MasterKeys:
    """The settings' master keys."""
    previous = settings.field_encryption_key_previous
    return MasterKeys(
        base64.b64decode(settings.field_encryption_key.get_secret_value()),
        None if previous is None else base64.b64decode(previous.get_secret_value()),
    )


def _provider(key: bytes) -> str:
    # The key is random: a hash of it tells nothing.
    return f"local:{hashlib.sha256(key).hexdigest()[:16]}"


@contextmanager
def _translate_errors(message: str) -> Iterator[None]:
    """Turn pymongo's error into `FieldEncryptionError`, or, where it wraps an outage, into `UnavailableError`."""
    try:
        yield
    except EncryptionError as error:
        if is_outage(error.cause):
            raise UnavailableError("the database is not available") from error
        raise FieldEncryptionError(message) from error


class FieldCipher:
    """Encrypts and decrypts single strings. Close it when done.

    Raises `UnavailableError` when the data key cannot be read because the database is away.
    """

    def __init__(self, db: Database, keys: MasterKeys) -> None:
        self._provider = keys.provider
        self._encryption: AsyncClientEncryption[Document] = AsyncClientEncryption(
            keys.providers(), f"{db.name}.{KEY_VAULT}", db.client, CodecOptions(tz_aware=True)
        )

    async def ensure_key(self) -> bool:
        """Make the data key unless there is one; True when it was made.

        The key vault's unique index on `keyAltNames` (see `sdlc_agents.migrations`) keeps two from making one each.
        """
        if await self._encryption.get_key_by_alt_name(KEY_ALT_NAME) is not None:
            return False
        await self._encryption.create_data_key(self._provider, key_alt_names=[KEY_ALT_NAME])
        return True

    async def rewrap(self) -> bool:
        """Wrap the data key with the current master key; True when another one wrapped it.

        Raises `FieldEncryptionError` when neither the current nor the previous key did.
        """
        with _translate_errors("the data key could not be unwrapped: another master key?"):
            result = await self._encryption.rewrap_many_data_key(
                {"masterKey.provider": {"$ne": self._provider}}, provider=self._provider
            )
        return result.bulk_write_result is not None

    async def encrypt(self, value: str) -> Binary:
        """The value as BSON binary of subtype 6."""
        with _translate_errors("a value could not be encrypted"):
            return await self._encryption.encrypt(
                value, Algorithm.AEAD_AES_256_CBC_HMAC_SHA_512_Random, key_alt_name=KEY_ALT_NAME
            )

    async def decrypt(self, value: Binary) -> str:
        """The string that `encrypt` was given."""
        with _translate_errors("a stored value could not be decrypted: another master key?"):
            return str(await self._encryption.decrypt(value))

    async def close(self) -> None:
        """Free the key material."""
        await self._encryption.close()
