"""Every payload that Jira sends comes to what is stated for it: parsed, and delivered over HTTP."""

from dataclasses import asdict
from typing import Any

import orjson
import pytest

from sdlc_agents.kernel.errors import InvalidRequestError
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.payload import Delivery, Ignored, TriggerRule, parse
from support.deliveries import FIXTURES, fixture
from support.webhook_service import Service
from webhooks.expectations import ACCEPTED, IGNORED, REFUSED

NAMES = sorted(path.stem for path in FIXTURES.glob("*.json"))
REASONS = {name: reason for reason, names in IGNORED.items() for name in names}


def judged(name: str) -> Delivery | Ignored:
    return parse((FIXTURES / f"{name}.json").read_bytes(), lambda _: TriggerRule("In Development"))


def test_each_fixture_has_exactly_one_expectation() -> None:
    stated = [*ACCEPTED, *(name for names in IGNORED.values() for name in names), *REFUSED]
    assert sorted(stated) == NAMES


def test_the_fixtures_are_of_many_kinds_of_cloud_and_data_center() -> None:
    kinds = {(fixture(name).get("webhookEvent"), fixture(name).get("issue_event_type_name")) for name in NAMES}
    assert len(kinds) >= 70
    assert len([name for name in NAMES if name.startswith("data_center_")]) >= 25


@pytest.mark.parametrize(("name", "fields"), ACCEPTED.items(), ids=ACCEPTED.keys())
def test_a_ticket_that_reaches_the_trigger_status_is_a_delivery(name: str, fields: dict[str, Any]) -> None:
    assert judged(name) == Delivery(**fields)


@pytest.mark.parametrize(("name", "reason"), REASONS.items(), ids=REASONS.keys())
def test_another_event_is_ignored_for_a_reason(name: str, reason: str) -> None:
    assert judged(name) == Ignored(reason)


@pytest.mark.parametrize(("name", "error"), REFUSED.items(), ids=REFUSED.keys())
def test_a_field_that_is_not_jiras_is_refused(name: str, error: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        judged(name)
    assert caught.value.message == error


async def test_each_fixture_over_http_is_answered_and_stored_as_stated(service: Service, db: Database) -> None:
    for name in NAMES:
        body = (FIXTURES / f"{name}.json").read_bytes()
        response = await service.deliver(body, X_Atlassian_Webhook_Identifier=name)
        stored = await db["webhook_events"].find_one({"delivery_id": name})
        if name in ACCEPTED:
            assert (response.status_code, response.json()["status"]) == (200, "accepted"), name
            assert stored is not None, name
            fields = orjson.loads(orjson.dumps(asdict(Delivery(**ACCEPTED[name]))))
            assert {key: stored[key] for key in fields} == fields, name
            assert stored["raw_payload"].encode() == body, name
        else:
            assert stored is None, name
        if name in REASONS:
            assert (response.status_code, response.json()) == (200, {"status": "ignored", "message": REASONS[name]})
        if name in REFUSED:
            assert (response.status_code, response.json()) == (400, {"error": REFUSED[name]})
