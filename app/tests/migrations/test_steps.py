"""From the state that an older release left."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pydantic import SecretStr
from pymongo import ASCENDING, IndexModel

from sdlc_agents.commands.migrate import MigrationSettings, migrate
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ConflictError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.migrations import schema
from support.backends import Backends, MakeSettings
from support.database_users import database_users_of

STORED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def project(key: str, **more: Any) -> dict[str, Any]:
    repository = {"repository_id": "r", "url": "https://git.example/r", "git_access_token": b"x"}
    return {
        "_id": key,
        "name": key,
        "jira_project_key": key,
        "repositories": [{**repository, "git_access_token_hint": "****"}],
        "created_at": STORED,
        "updated_at": STORED,
        **more,
    }


@pytest.fixture
async def version_1(fresh: Database) -> Database:
    """What version 1 left: its validator and indexes of `projects`, and documents without what came later."""
    required = ["_id", "name", "jira_project_key", "repositories", "created_at", "updated_at"]
    await fresh.create_collection("projects", validator={"$jsonSchema": {"bsonType": "object", "required": required}})
    await fresh["projects"].create_indexes(
        [IndexModel([("jira_project_key", ASCENDING)], name="jira_project_key", unique=True)]
    )
    await fresh["projects"].insert_many([project("OLD"), project("NEW", revision=7)])
    await fresh["agent_events"].insert_one({"_id": ObjectId.from_datetime(STORED), "development_id": "d", "seq": 0})
    await fresh["audit_log"].create_index("entity_id", name="by_entity")
    await fresh["audit_log"].create_index("address", name="of_another_release")
    await fresh["schema_version"].insert_one({"_id": "database", "version": 1, "applied_at": now()})
    return fresh


async def test_documents_of_version_1_get_what_came_later(version_1: Database) -> None:
    assert await schema.migrate(version_1) is True
    revisions = {found["_id"]: found["revision"] async for found in version_1["projects"].find()}
    assert revisions == {"OLD": 1, "NEW": 7}
    event = await version_1["agent_events"].find_one()
    assert event is not None
    assert event["stored_at"] == STORED
    await schema.check(version_1)
    assert await schema.migrate(version_1) is False


async def test_a_migration_that_broke_off_is_done_again(version_1: Database) -> None:
    await schema.migrate(version_1)
    # As if it had ended before it wrote the version.
    await version_1["schema_version"].update_one({"_id": "database"}, {"$set": {"version": 1}})
    assert await schema.migrate(version_1) is True
    document = await version_1["projects"].find_one({"_id": "OLD"})
    assert document is not None
    assert document["revision"] == 1
    assert await schema.version(version_1) == schema.VERSION


async def test_indexes_that_changed_or_are_not_wanted_any_more_are_replaced(version_1: Database) -> None:
    await schema.migrate(version_1)
    indexes = await version_1["audit_log"].index_information()
    assert "of_another_release" not in indexes
    assert [tuple(part) for part in indexes["by_entity"]["key"]] == [("entity_id", 1), ("_id", -1)]


async def test_documents_that_stand_against_a_unique_index_are_named(version_1: Database) -> None:
    await version_1["projects"].drop_index("jira_project_key")
    await version_1["projects"].insert_one(project("OLD") | {"_id": "OLD-again"})
    with pytest.raises(ConflictError, match=r"projects .* jira_project_key"):
        await schema.migrate(version_1)
    assert await schema.version(version_1) == 1


async def test_an_events_age_is_counted_from_when_it_was_stored(version_1: Database) -> None:
    young = ObjectId()
    await version_1["agent_events"].insert_one({"_id": young, "development_id": "d", "at": STORED})
    await schema.migrate(version_1)
    event = await version_1["agent_events"].find_one({"_id": young})
    assert event is not None
    assert now() - event["stored_at"] < timedelta(minutes=1)


async def test_of_two_runs_of_a_ticket_the_one_that_was_begun_last_goes_on(fresh: Database) -> None:
    await schema.migrate(fresh)
    await fresh["developments"].drop_index("one_run_a_ticket")
    await fresh["schema_version"].update_one({"_id": "database"}, {"$set": {"version": 2}})

    def running(name: str, key: str, claimed_at: datetime) -> dict[str, Any]:
        return {
            "_id": name,
            "status": "running",
            "jira_issue_id": "1",
            "jira_issue_key": key,
            "jira_project_key": "T",
            "prompt": "",
            "created_at": STORED,
            "attempts": 1,
            "lease": {"owner": "c", "fence": 3, "expires_at": STORED + timedelta(days=9000)},
            "timings": {"claimed_at": claimed_at},
        }

    await fresh["developments"].insert_many(
        [
            running("older", "T-1", STORED),
            running("newer", "T-1", STORED + timedelta(seconds=5)),
            running("alone", "T-2", STORED),
        ]
    )
    assert await schema.migrate(fresh) is True
    found = {document["_id"]: document async for document in fresh["developments"].find()}
    assert {name: document["status"] for name, document in found.items()} == {
        "older": "queued",
        "newer": "running",
        "alone": "running",
    }
    assert (found["older"]["attempts"], found["older"]["lease"]["fence"]) == (0, 3)
    assert found["older"]["lease"]["expires_at"] < found["newer"]["lease"]["expires_at"]
    assert await schema.migrate(fresh) is False


async def test_pull_requests_get_their_numbers_from_their_addresses(fresh: Database) -> None:
    await schema.migrate(fresh)
    await fresh["schema_version"].update_one({"_id": "database"}, {"$set": {"version": 3}})
    addresses = {
        "gitea": "https://h/o/r/pulls/7",
        "github": "https://h/o/r/pull/42",
        "gitlab": "https://h/g/s/r/-/merge_requests/1234567/",
        "odd": "https://h/o/r/pulls/seven",
        "none": None,
    }

    def ended(name: str, address: str | None) -> dict[str, Any]:
        return {
            "_id": name,
            "status": "completed",
            "jira_issue_id": "1",
            "jira_issue_key": "T-1",
            "jira_project_key": "T",
            "prompt": "",
            "created_at": STORED,
            "pr_mr_url": address,
        }

    def watch(address: str) -> dict[str, Any]:
        return {
            "_id": address,
            **dict.fromkeys(("development_id", "jira_project_key", "repository_url", "forge"), "x"),
            "state": "open",
            **dict.fromkeys(("since", "next_at", "touched_at"), STORED),
            "handled": [],
        }

    await fresh["developments"].insert_many([ended(name, address) for name, address in addresses.items()])
    await fresh["developments"].insert_one(ended("known", "https://h/o/r/pulls/8") | {"pr_mr_number": 9})
    await fresh["pull_request_watches"].insert_many([watch(address) for address in addresses.values() if address])
    assert await schema.migrate(fresh) is True
    numbers = {document["_id"]: document.get("pr_mr_number") async for document in fresh["developments"].find()}
    assert numbers == {"gitea": 7, "github": 42, "gitlab": 1_234_567, "odd": None, "none": None, "known": 9}
    watched = {document["_id"]: document.get("number") async for document in fresh["pull_request_watches"].find()}
    assert watched == {address: numbers[name] for name, address in addresses.items() if address}
    assert await schema.migrate(fresh) is False


async def test_every_step_and_every_collection_is_within_the_rights_of_migrates_user(
    version_1: Database, backends: Backends, make_settings: MakeSettings
) -> None:
    """From the oldest release on, with every step in it; a second run has nothing left to do."""
    with database_users_of(backends, version_1.name) as users:
        settings = make_settings(
            MigrationSettings,
            mongo_url=users.url("migrate"),
            mongo_database=version_1.name,
            configuration_api_admin_key="the operator's bootstrap key",
            transcript_retention_days=30,
        )
        assert await migrate(settings) is True
        await version_1["api_keys"].drop_index("key_sha256")
        await version_1.command("collMod", "developments", validator={})
        # A time to live is changed in place, and the key of the operator is another one.
        other = settings.model_copy(
            update={"transcript_retention_days": 40, "configuration_api_admin_key": SecretStr("another bootstrap key")}
        )
        assert await migrate(other) is True
        assert await migrate(other) is False
