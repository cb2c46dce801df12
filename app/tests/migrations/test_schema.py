"""Migrations: idempotent, forward only."""

import asyncio

import pytest
from pymongo.errors import WriteError

from sdlc_agents.commands.migrate import MigrationSettings, migrate
from sdlc_agents.kernel.encryption import FieldEncryptionError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.migrations import schema
from sdlc_agents.migrations.collections import COLLECTIONS
from support.backends import MakeSettings

KEY = "the operator's bootstrap key"


async def test_a_new_database_gets_everything_and_a_second_run_changes_nothing(
    fresh: Database, make_settings: MakeSettings
) -> None:
    settings = make_settings(MigrationSettings, mongo_database=fresh.name, configuration_api_admin_key=KEY)
    assert await migrate(settings) is True
    assert set(await fresh.list_collection_names()) == {collection.name for collection in COLLECTIONS}
    for collection in COLLECTIONS:
        wanted = {index.document["name"] for index in collection.indexes}
        assert wanted <= set(await fresh[collection.name].index_information())
    assert await schema.version(fresh) == schema.VERSION
    await schema.check(fresh)
    assert await migrate(settings) is False


async def test_an_index_or_validator_that_was_lost_comes_back(fresh: Database) -> None:
    await schema.migrate(fresh)
    await fresh["projects"].drop_index("jira_project_key")
    await fresh.command("collMod", "developments", validator={})
    assert await schema.migrate(fresh) is True
    assert "jira_project_key" in await fresh["projects"].index_information()
    with pytest.raises(WriteError):
        await fresh["developments"].insert_one({"_id": "x", "status": "odd"})


async def test_several_migrations_at_once_end_well(fresh: Database) -> None:
    await asyncio.gather(*(schema.migrate(fresh) for _ in range(3)))
    assert await schema.migrate(fresh) is False


async def test_a_newer_database_is_refused_before_any_change(fresh: Database) -> None:
    await fresh["schema_version"].insert_one({"_id": "database", "version": schema.VERSION + 1})
    with pytest.raises(schema.SchemaError, match="newer"):
        await schema.migrate(fresh)
    assert await fresh.list_collection_names() == ["schema_version"]


async def test_a_database_that_was_not_migrated_is_not_ready(fresh: Database) -> None:
    with pytest.raises(schema.SchemaError, match="schema version 0"):
        await schema.check(fresh)


async def test_another_master_key_is_refused(fresh: Database, make_settings: MakeSettings) -> None:
    given = {"mongo_database": fresh.name, "configuration_api_admin_key": KEY}
    await migrate(make_settings(MigrationSettings, **given))
    with pytest.raises(FieldEncryptionError):
        await migrate(make_settings(MigrationSettings, **given, field_encryption_key="A" * 128))
