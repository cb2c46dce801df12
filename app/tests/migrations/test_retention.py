"""How long documents are kept, as the database itself sees to it."""

from typing import Any

import pytest

from sdlc_agents.commands.migrate import MigrationSettings, migrate
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.migrations import schema
from sdlc_agents.migrations.collections import DAY_SECONDS, Retention
from support.backends import MakeSettings


async def expiry(db: Database, collection: str) -> dict[str, Any] | None:
    return (await db[collection].index_information()).get("expiry")


async def test_webhook_events_go_after_they_were_published_never_before(fresh: Database) -> None:
    await schema.migrate(fresh, Retention(webhook_events_days=90))
    index = await expiry(fresh, "webhook_events")
    assert index is not None
    assert [tuple(part) for part in index["key"]] == [("processed_at", 1)]
    assert index["expireAfterSeconds"] == 90 * DAY_SECONDS
    assert index["partialFilterExpression"] == {"state": "published"}


async def test_a_transcript_goes_by_the_consumers_clock(fresh: Database) -> None:
    await schema.migrate(fresh, Retention(transcript_days=30))
    index = await expiry(fresh, "agent_events")
    assert index is not None
    assert [tuple(part) for part in index["key"]] == [("stored_at", 1)]
    assert index["expireAfterSeconds"] == 30 * DAY_SECONDS


@pytest.mark.parametrize("collection", ["webhook_events", "agent_events"])
async def test_another_retention_changes_the_index_in_place_and_none_removes_it(
    fresh: Database, collection: str
) -> None:
    for days in (30, 7):
        assert await schema.migrate(fresh, Retention(days, days)) is True
        assert await schema.migrate(fresh, Retention(days, days)) is False
        index = await expiry(fresh, collection)
        assert index is not None
        assert index["expireAfterSeconds"] == days * DAY_SECONDS
    assert await schema.migrate(fresh, Retention()) is True
    assert await expiry(fresh, collection) is None


async def test_the_settings_reach_the_database(fresh: Database, make_settings: MakeSettings) -> None:
    given = {"webhook_events_retention_days": 5, "transcript_retention_days": 6}
    key = "the operator's bootstrap key"
    await migrate(make_settings(MigrationSettings, mongo_database=fresh.name, configuration_api_admin_key=key, **given))
    found = {name: await expiry(fresh, name) for name in ("webhook_events", "agent_events", "audit_log")}
    days = {name: index and index["expireAfterSeconds"] / DAY_SECONDS for name, index in found.items()}
    assert days == {"webhook_events": 5, "agent_events": 6, "audit_log": None}


async def test_questions_to_a_forge_are_kept_for_a_day(fresh: Database) -> None:
    await schema.migrate(fresh)
    index = await expiry(fresh, "project_checks")
    assert index is not None
    assert index["expireAfterSeconds"] == DAY_SECONDS
