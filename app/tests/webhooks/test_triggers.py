"""Each project's own trigger."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import structlog

from sdlc_agents.events.model import EventKind
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.payload import TriggerRule
from sdlc_agents.webhooks.triggers import ProjectTriggers
from support.backends import EveryService, MakeSettings
from support.deliveries import ticket
from support.proxy import CuttableProxy
from support.waiting import until
from support.webhook_service import Service, StartService

DEFAULT = TriggerRule("In Development")
FRESH_SECONDS = 2.0


async def set_trigger(
    db: Database, key: str, status: str, event_kinds: Sequence[str] = (EventKind.CREATED, EventKind.UPDATED)
) -> None:
    """What the configuration API writes with a project."""
    document = {"status": status, "event_kinds": list(event_kinds), "updated_at": now()}
    await db["project_triggers"].replace_one({"_id": key}, document, upsert=True)


def moved_to(key: str, status: str, number: int = 1) -> dict[str, Any]:
    payload = ticket(key, number)
    payload["issue"]["fields"]["status"]["name"] = status
    payload["changelog"]["items"][0]["toString"] = status
    return payload


def post_function(key: str, status: str) -> dict[str, Any]:
    payload = ticket(key, name="data_center_post_function")
    payload["issue"]["fields"]["status"]["name"] = status
    return payload


def answers(service: Service, payload: dict[str, Any], status: str) -> Callable[[], Awaitable[bool]]:
    async def answered() -> bool:
        response = await service.deliver(payload)
        return bool(response.json().get("status") == status)

    return answered


async def test_a_project_starts_at_its_own_status_and_others_at_the_services(
    start_service: StartService, db: Database, project_key: str
) -> None:
    await set_trigger(db, project_key, "Bereit für Agenten")
    service = await start_service()
    own = await service.deliver(moved_to(project_key, "Bereit für Agenten"))
    usual = await service.deliver(moved_to(project_key, "In Development"))
    another = await service.deliver(moved_to("OTHER", "In Development"))
    assert [answer.json()["status"] for answer in (own, usual, another)] == ["accepted", "ignored", "accepted"]
    events = await db["webhook_events"].find().sort("_id", 1).to_list()
    assert [event["status"] for event in events] == ["Bereit für Agenten", "In Development"]


@pytest.mark.parametrize(
    ("kinds", "updated", "created", "function"),
    [
        ([EventKind.UPDATED, EventKind.CREATED], "accepted", "accepted", "accepted"),
        ([EventKind.UPDATED], "accepted", "ignored", "accepted"),
        ([EventKind.CREATED], "ignored", "accepted", "ignored"),
    ],
)
async def test_a_project_starts_at_the_kinds_of_events_that_it_names(
    start_service: StartService,
    db: Database,
    project_key: str,
    kinds: list[str],
    updated: str,
    created: str,
    function: str,
) -> None:
    await set_trigger(db, project_key, "In Development", kinds)
    service = await start_service()
    for payload, status in (
        (ticket(project_key, 1), updated),
        (ticket(project_key, 2, name="cloud_issue_created_in_development"), created),
        (post_function(project_key, "In Development"), function),
    ):
        answer = (await service.deliver(payload)).json()
        assert answer["status"] == status
        if status == "ignored":
            assert answer["message"] == "this kind of event starts nothing in this project"


async def test_without_a_project_field_the_issues_key_tells_whose_trigger_counts(
    start_service: StartService, db: Database
) -> None:
    await set_trigger(db, "A-B_c", "Go")
    service = await start_service()
    payload = moved_to("A-B_c", "Go", 7)
    del payload["issue"]["fields"]["project"]
    assert (await service.deliver(payload)).json()["status"] == "accepted"


async def test_a_changed_trigger_counts_within_two_seconds_and_a_removed_one_no_longer(
    service: Service, db: Database, project_key: str
) -> None:
    await set_trigger(db, project_key, "Go")
    await until(answers(service, moved_to(project_key, "Go", 1), "accepted"), seconds=FRESH_SECONDS)
    await set_trigger(db, project_key, "Go on")
    await until(answers(service, moved_to(project_key, "Go on", 2), "accepted"), seconds=FRESH_SECONDS)
    await db["project_triggers"].delete_one({"_id": project_key})
    await until(answers(service, moved_to(project_key, "In Development", 3), "accepted"), seconds=FRESH_SECONDS)


async def test_with_the_database_away_the_last_known_trigger_counts(
    mongo_proxy: CuttableProxy, start_service: StartService, db: Database, project_key: str
) -> None:
    await set_trigger(db, project_key, "Go")
    service = await start_service(mongo_url=mongo_proxy.url)
    await mongo_proxy.cut()
    own = await service.deliver(moved_to(project_key, "Go"))
    usual = await service.deliver(moved_to(project_key, "In Development"))
    await service.checks["triggers"]()
    assert own.status_code == 503, "it is a trigger, and cannot be stored now"
    assert (usual.status_code, usual.json()["status"]) == (200, "ignored")
    await mongo_proxy.mend()
    assert (await service.deliver(moved_to(project_key, "Go"))).json()["status"] == "accepted"


async def test_a_service_that_never_read_the_triggers_sends_jira_away_until_it_has(
    mongo_proxy: CuttableProxy, start_service: StartService, db: Database, project_key: str
) -> None:
    await set_trigger(db, project_key, "Go")
    await mongo_proxy.cut()
    service = await start_service(mongo_url=mongo_proxy.url)
    early = await service.deliver(moved_to(project_key, "In Development"))
    assert (early.status_code, set(early.json())) == (503, {"error"})
    assert int(early.headers["Retry-After"]) > 0
    with pytest.raises(UnavailableError):
        await service.checks["triggers"]()
    await mongo_proxy.mend()
    await until(answers(service, moved_to(project_key, "Go"), "accepted"))
    assert (await service.deliver(moved_to(project_key, "In Development"))).json()["status"] == "ignored"


async def test_an_outage_is_logged_once(mongo_proxy: CuttableProxy, make_settings: MakeSettings, db: Database) -> None:
    settings = make_settings(EveryService, mongo_url=mongo_proxy.url)
    async with mongo.connect(settings, application="tests") as client:
        triggers = ProjectTriggers(mongo.database(client, settings), DEFAULT, refresh_seconds=0.01)
        stop = asyncio.Event()
        with structlog.testing.capture_logs() as logs:
            running = asyncio.create_task(triggers.run(stop))
            await until(lambda: known(triggers))
            await mongo_proxy.cut()
            await until(lambda: logged(logs, 1))
            await mongo_proxy.mend()
            await set_trigger(db, "NEW", "Go")
            await until(lambda: read(triggers, "NEW", "Go"))
            await mongo_proxy.cut()
            await until(lambda: logged(logs, 2))
            stop.set()
            await running
    assert [entry["event"] for entry in logs] == ["triggers_not_read"] * 2
    assert triggers.of("NEW") == TriggerRule("Go")


async def known(triggers: ProjectTriggers) -> bool:
    try:
        await triggers.check()
    except UnavailableError:
        return False
    return True


async def logged(logs: Sequence[object], number: int) -> bool:
    return len(logs) == number


async def read(triggers: ProjectTriggers, key: str, status: str) -> bool:
    return triggers.of(key).status == status
