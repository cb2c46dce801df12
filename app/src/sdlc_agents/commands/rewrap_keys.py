"""`sdlc-agents rewrap-keys`: wraps the data key of field encryption with the current master key.

Run it once every service has the new key as FIELD_ENCRYPTION_KEY and the former one as FIELD_ENCRYPTION_KEY_PREVIOUS,
in the container of configuration-api; afterwards the former one may go. Safe to run again. Its last line is
`rewrapping_finished` with `changed`; ends with 1 when neither key wraps the data key.
"""

import asyncio

import structlog

from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.settings import EncryptionSettings, MongoSettings, load_settings

NAME = "rewrap-keys"

log = structlog.get_logger()


class RewrappingSettings(MongoSettings, EncryptionSettings):
    """Where the data key is, and the master keys."""


async def rewrap(settings: RewrappingSettings) -> bool:
    """Wrap the data key with the current master key; True when it was another's."""
    async with mongo.connect(settings, application=NAME) as client:
        db = mongo.database(client, settings)
        await mongo.ping(db)
        cipher = FieldCipher(db, master_key(settings))
        try:
            changed = await cipher.rewrap()
            await cipher.encrypt("can the data key be unwrapped?")
        finally:
            await cipher.close()
    return changed


def run() -> None:
    """Rewrap and end."""
    settings = load_settings(RewrappingSettings)
    configure_logging(settings, NAME)
    try:
        changed = asyncio.run(rewrap(settings))
    except ServiceError as error:
        log.error("rewrapping_failed", code=error.code, error=error.message)  # noqa: TRY400 - the message says it all
        raise SystemExit(1) from None
    log.info("rewrapping_finished", changed=changed)
