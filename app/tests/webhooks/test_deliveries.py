"""What a delivery's headers and fields may be: retries, secrets, operators, characters of all kinds."""

from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.endpoints import delivery_id, retries
from support.backends import Broker
from support.deliveries import fixture, ticket
from support.proxy import CuttableProxy
from support.webhook_service import PREVIOUS, SECRET, Service, StartService

OPERATORS: list[Any] = [
    {"$ne": None},
    {"$gt": ""},
    {"$where": "sleep(1000)"},
    {"$regex": ".*"},
    [{"$set": {"state": "published"}}],
    "$where",
    "$$ROOT",
    "a.b.$[]",
    "\x00",
]


def events_of(logs: list[Any], name: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == name]


@pytest.mark.parametrize(
    ("header", "label"),
    [("1", "1"), ("5", "5"), ("6", "more"), ("999", "more")],
)
async def test_a_retry_is_counted_and_logged_and_decided_as_any_delivery(
    service: Service, project_key: str, header: str, label: str
) -> None:
    payload = ticket(project_key)
    with structlog.testing.capture_logs() as logs:
        first = await service.deliver(payload, X_Atlassian_Webhook_Retry=header, X_Atlassian_Webhook_Identifier="i")
        again = await service.deliver(payload, X_Atlassian_Webhook_Retry=header, X_Atlassian_Webhook_Identifier="i")
        ignored = await service.deliver(fixture("cloud_issue_deleted"), X_Atlassian_Webhook_Retry=header)
    assert [answer.json()["status"] for answer in (first, again, ignored)] == ["accepted", "duplicate", "ignored"]
    assert service.metric("sdlc_webhook_retries_total", attempt=label) == 3
    told = [
        entry["retry"] for name in ("accepted", "duplicate", "ignored") for entry in events_of(logs, f"delivery_{name}")
    ]
    assert told == [int(header)] * 3


@pytest.mark.parametrize("header", ["", "0", "-1", "1.5", "many", "1000", "1" * 400])
async def test_a_header_that_names_no_retry_counts_as_a_first_delivery(
    service: Service, project_key: str, header: str
) -> None:
    answer = await service.deliver(ticket(project_key), X_Atlassian_Webhook_Retry=header)
    assert answer.json()["status"] == "accepted"
    assert [
        sample for metric in service.registry.collect() for sample in metric.samples if "retries" in sample.name
    ] == []


async def test_a_retry_of_what_nobody_signed_is_not_counted(service: Service, project_key: str) -> None:
    answer = await service.deliver(ticket(project_key), secret=b"another", X_Atlassian_Webhook_Retry="1")
    assert answer.status_code == 401
    assert service.metric("sdlc_webhook_retries_total", attempt="1") == 0


async def test_a_delivery_that_failed_is_accepted_when_jira_sends_it_again(
    mongo_proxy: CuttableProxy, start_service: StartService, db: Database, broker: Broker, project_key: str
) -> None:
    service = await start_service(mongo_url=mongo_proxy.url)
    await mongo_proxy.cut()
    payload = ticket(project_key)
    first = await service.deliver(payload, X_Atlassian_Webhook_Identifier="same")
    assert first.status_code == 503
    assert await db["webhook_events"].count_documents({}) == 0
    assert await db["developments"].count_documents({}) == 0
    await mongo_proxy.mend()
    again = await service.deliver(payload, X_Atlassian_Webhook_Identifier="same", X_Atlassian_Webhook_Retry="1")
    third = await service.deliver(payload, X_Atlassian_Webhook_Identifier="same", X_Atlassian_Webhook_Retry="2")
    assert [answer.json()["status"] for answer in (again, third)] == ["accepted", "duplicate"]
    assert orjson.loads((await broker.next_message()).body)["jira_issue_key"] == f"{project_key}-1"
    assert await db["webhook_events"].count_documents({}) == 1


async def test_a_secret_is_rotated_without_a_delivery_refused(start_service: StartService, project_key: str) -> None:
    before = await start_service(jira_webhook_secret=PREVIOUS.decode(), jira_webhook_secret_previous=None)
    during = await start_service(jira_webhook_secret=SECRET.decode(), jira_webhook_secret_previous=PREVIOUS.decode())
    after = await start_service(jira_webhook_secret=SECRET.decode(), jira_webhook_secret_previous=None)
    statuses = []
    for number, (service, secret) in enumerate(
        (service, secret) for service in (before, during, after) for secret in (PREVIOUS, SECRET)
    ):
        statuses.append((await service.deliver(ticket(project_key, number), secret=secret)).status_code)
    assert statuses == [200, 401, 200, 200, 401, 200]


STRICT = ["issue.id", "issue.key", "issue.fields.status.name", "issue.fields.project.key", "webhookEvent"]
TEXTS = [
    "issue.fields.summary",
    "issue.fields.description",
    "issue.fields.components.0.name",
    "changelog.items.0.fromString",
]
BLIND = [
    "user.displayName",
    "issue.fields.labels",
    "issue.fields.customfield_10030",
    "matchedWebhookIds",
    "$where",
    "timestamp",
]


def put(payload: dict[str, Any], path: str, value: object) -> None:
    *parents, name = path.split(".")
    place: Any = payload
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    place[name] = value


async def test_operators_in_any_field_are_data(service: Service, db: Database, project_key: str) -> None:
    before = await service.deliver(ticket(project_key, 0))
    assert before.json()["status"] == "accepted"
    for number, (path, value) in enumerate(
        ((path, value) for path in STRICT + TEXTS + BLIND for value in OPERATORS), 1
    ):
        payload = ticket(project_key, number)
        put(payload, path, value)
        response = await service.deliver(payload, X_Atlassian_Webhook_Identifier=f"$ne.{number}")
        event = await db["webhook_events"].find_one({"delivery_id": f"$ne.{number}"})
        if path in STRICT:
            assert response.status_code == 400 or response.json()["status"] == "ignored", (path, value)
            assert event is None
        elif path in BLIND or isinstance(value, str) or path == "changelog.items.0.fromString":
            assert response.json()["status"] == "accepted", (path, value)
            assert event is not None
            assert orjson.loads(event["raw_payload"]) == payload
            assert (event["jira_issue_key"], event["status"]) == (f"{project_key}-{number}", "In Development")
        else:  # a summary, a name or a list as description that is no text; a description may be an (empty) document
            document = path.endswith("description") and isinstance(value, dict)
            assert (response.status_code, event is not None) == ((200, True) if document else (400, False)), (
                path,
                value,
            )
    first = await db["webhook_events"].find_one({"jira_issue_key": f"{project_key}-0"})
    assert first is not None
    assert first["summary"] == "Total is wrong for more than 9 items"


@pytest.mark.parametrize("identifier", ["$ne", '{"$ne": null}', "$where:1", "../../x", "'; drop"])
async def test_an_identifier_is_data_too(service: Service, db: Database, project_key: str, identifier: str) -> None:
    for expected in ("accepted", "duplicate"):
        answer = await service.deliver(ticket(project_key), X_Atlassian_Webhook_Identifier=identifier)
        assert answer.json()["status"] == expected
    another = await service.deliver(ticket(project_key, 2), X_Atlassian_Webhook_Identifier="other")
    assert another.json()["status"] == "accepted"
    assert await db["webhook_events"].count_documents({}) == 2


async def test_text_of_all_scripts_reaches_database_and_queue_as_it_came(
    service: Service, db: Database, broker: Broker, project_key: str
) -> None:
    text = "Größe €  東京 🧾 \u202e אבג \x00\ufeff\ud7ff 👩‍👩‍👧"
    fields = {"summary": text, "description": text, "components": [{"name": text, "description": text}]}
    assert (await service.deliver(ticket(project_key, 1, fields))).json()["status"] == "accepted"
    event = await db["webhook_events"].find_one({})
    message = orjson.loads((await broker.next_message()).body)
    assert event is not None
    assert (event["summary"], event["description"], event["components"][0]["name"]) == (text, text, text)
    assert (message["summary"], message["description"]) == (text, text)


@given(header=st.none() | st.text(max_size=30))
def test_any_retry_header_is_a_small_number(header: str | None) -> None:
    assert 0 <= retries(header) <= 999


@given(identifier=st.none() | st.text(max_size=300), body=st.binary(max_size=50))
def test_any_identifier_becomes_a_short_text_that_is_the_same_again(identifier: str | None, body: bytes) -> None:
    found = delivery_id(identifier, body)
    assert 1 <= len(found) <= 255
    assert found.isascii()
    assert found == delivery_id(identifier, body)
