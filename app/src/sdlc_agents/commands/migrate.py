"""`sdlc-agents migrate`: the database's shape, its retention, the data key of field encryption, the bootstrap API key.

Safe to run again and beside running services. Its last line is `migration_finished` with `changed`; ends with 1 when
the database is newer than this release or another master key made its data key.
"""

import asyncio
from typing import Annotated

import structlog
from pydantic import Field, SecretStr

from sdlc_agents.apikeys.service import ApiKeyService
from sdlc_agents.commands.api_keys import operator
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.settings import EncryptionSettings, MongoSettings, load_settings
from sdlc_agents.migrations import schema
from sdlc_agents.migrations.collections import Retention

log = structlog.get_logger()


# MongoDB's longest time to live is 2^31 - 1 seconds.
Days = Annotated[int, Field(ge=0, le=24_000)]


class MigrationSettings(MongoSettings, EncryptionSettings):
    """The bootstrap key is stored as its hash; changing it replaces the former one.

    Webhook events that the broker has taken, and transcripts, are kept for so many days; 0 keeps them for ever.
    """

    configuration_api_admin_key: Annotated[SecretStr, Field(min_length=20)]
    webhook_events_retention_days: Days = 0
    transcript_retention_days: Days = 0


async def migrate(settings: MigrationSettings) -> bool:
    """Bring the database to this release's shape; True when something changed."""
    key = master_key(settings)
    async with mongo.connect(settings, application="migrate") as client:
        db = mongo.database(client, settings)
        await mongo.ping(db)
        retention = Retention(settings.webhook_events_retention_days, settings.transcript_retention_days)
        changed = await schema.migrate(db, retention)
        cipher = FieldCipher(db, key)
        try:
            changed |= await cipher.ensure_key()
            await cipher.encrypt("can the data key be unwrapped?")
        finally:
            await cipher.close()
        admin_key = settings.configuration_api_admin_key.get_secret_value()
        changed |= await ApiKeyService(db).set_bootstrap_key(admin_key, operator())
    return changed


def run() -> None:
    """Migrate and end."""
    settings = load_settings(MigrationSettings)
    configure_logging(settings, "migrate")
    try:
        changed = asyncio.run(migrate(settings))
    except ServiceError as error:
        log.error("migration_failed", code=error.code, error=error.message)  # noqa: TRY400 - the message says it all
        raise SystemExit(1) from None
    log.info("migration_finished", changed=changed, schema_version=schema.VERSION)
