"""One shape: what the constructors and the changes write is what the model says, and what the database lets in."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, get_type_hints

import pytest

from sdlc_agents.developments import changes, model
from sdlc_agents.developments.model import Development, FollowUp, Outcome, ReviewComment, Status, Ticket
from sdlc_agents.events.model import EventKind, EventState
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.migrations.collections import COLLECTIONS
from sdlc_agents.projects.schemas import CheckState

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TICKET = Ticket("10001", "SHOP-1", "SHOP", "Faster", "Make it faster.", ({"name": "api", "description": ""},))
FOLLOW_UP = FollowUp(7, "https://git.example/o/r/pulls/7", "d", "kim", (ReviewComment("kim", "no", "a.py", 3),))
SCHEMAS = {collection.name: collection.schema for collection in COLLECTIONS}
DEVELOPMENTS = SCHEMAS["developments"]["properties"]


def values(states: type[StrEnum]) -> list[str]:
    return [state.value for state in states]


def test_the_validator_knows_the_models_fields_and_no_others() -> None:
    assert set(DEVELOPMENTS) == set(get_type_hints(Development))
    assert set(SCHEMAS["developments"]["required"]) == Development.__required_keys__


@pytest.mark.parametrize(
    ("field", "shape"), [("lease", model.Lease), ("timings", model.Timings), ("result", model.Result)]
)
def test_the_validator_knows_the_inner_fields(field: str, shape: Any) -> None:
    assert set(DEVELOPMENTS[field]["properties"]) == set(get_type_hints(shape))


def test_the_validator_knows_every_state_and_kind() -> None:
    assert DEVELOPMENTS["status"]["enum"] == values(model.Status)
    assert DEVELOPMENTS["kind"]["enum"] == values(model.Kind)
    notices = DEVELOPMENTS["notices"]["properties"]
    assert {notice: known["enum"] for notice, known in notices.items()} == dict.fromkeys(
        values(model.Notice), values(model.NoticeState)
    )


def test_the_validators_of_events_and_checks_know_every_state() -> None:
    assert SCHEMAS["webhook_events"]["properties"]["state"]["enum"] == values(EventState)
    assert SCHEMAS["project_checks"]["properties"]["state"]["enum"] == values(CheckState)
    assert SCHEMAS["project_triggers"]["properties"]["event_kinds"]["items"]["enum"] == values(EventKind)


def test_each_notice_has_its_small_index() -> None:
    (developments,) = (collection for collection in COLLECTIONS if collection.name == "developments")
    names = {index.document["name"] for index in developments.indexes}
    assert {name for name in names if name.startswith("untold_")} == {f"untold_{notice}" for notice in model.Notice}


def test_every_state_is_under_way_or_ended() -> None:
    assert sorted([*model.UNDER_WAY, *model.ENDED]) == sorted(model.Status)
    assert set(model.WITHOUT_RESULT) < set(model.ENDED)


def _as_ticket() -> Development:
    return model.queued_from_ticket("d1", TICKET, webhook_event_id="e1", accepted_at=MOMENT)


def _as_review() -> Development:
    return model.queued_from_review(_as_ticket(), FOLLOW_UP)


async def test_both_constructors_make_what_the_database_takes_and_the_same_ticket(db: Database) -> None:
    ticket, review = _as_ticket(), _as_review()
    for made in (ticket, review):
        assert set(made) <= set(DEVELOPMENTS)
        assert Development.__required_keys__ <= set(made)
        await db["developments"].insert_one(dict(made))
    for name in ("jira_issue_id", "jira_issue_key", "jira_project_key", "summary", "description", "components"):
        assert ticket[name] == review[name]
    assert FollowUp.of_document(review) == FOLLOW_UP
    assert review["follow_up"] == asdict(FOLLOW_UP)
    assert FollowUp.of_document(ticket) is None


# Each with what comes before it in a development's life; the pipelines are applied by the database itself.
LIFE: list[Any] = [
    changes.taken("c1", 30),
    changes.taken("c2", 30),  # the first consumer was lost
    changes.with_ticket_policy({"status_when_started": "In Review"}),
    changes.placed("https://git.example/o/r", "feature/SHOP-1"),
    changes.start_to_be_told(),
    changes.being_told(60),
    changes.told(model.Notice.STARTED, model.NoticeState.DONE),
    [changes.told_for_now(15)],
    changes.prompted("Do it."),
    changes.agent_started(MOMENT),
    changes.accepted({"commit": "c0ffee", "base": "main", "turns": 3, "seconds": 4.5}, {"result": "passed"}),
    changes.published(MOMENT, MOMENT),
    changes.asked_to_stop("Ops"),
    changes.renewed(30),
    changes.handed_back(),
    changes.put_off(1),
    changes.taken("c3", 30),
    changes.finished(Outcome(Status.FAILED, "no_change", "it went wrong"), list(model.Notice)),
    [changes.told_for_now(0)],
    changes.queued_again(),
    changes.cancelled("Ops"),
]


@pytest.mark.parametrize("made", [_as_ticket, _as_review])
async def test_whatever_happens_to_one_keeps_the_shape(db: Database, made: Any) -> None:
    document = made()
    await db["developments"].insert_one(dict(document))
    seen: set[str] = set(document)
    found: Mapping[str, Any] = {}
    for change in LIFE:
        stages = change if isinstance(change, list) else [{"$set": change}]
        # The validator refuses what it does not know how to take.
        await db["developments"].update_one({"_id": document["_id"]}, stages)
        found = await db["developments"].find_one({"_id": document["_id"]}) or {}
        assert set(found) <= set(DEVELOPMENTS), change
        _inner_fields_are_known(found)
        seen |= set(found)
    never = {"follow_up", "kind"} if made is _as_ticket else {"webhook_event_id"}
    assert seen == set(DEVELOPMENTS) - never
    assert found["status"] == Status.CANCELLED
    assert [attempt["outcome"] for attempt in found["attempts_log"]] == ["consumer_lost", "no_change"]


def _inner_fields_are_known(document: Mapping[str, Any]) -> None:
    for field, shape in (("lease", model.Lease), ("timings", model.Timings), ("result", model.Result)):
        assert set(document.get(field) or ()) <= set(get_type_hints(shape))
    for attempt in document.get("attempts_log") or ():
        assert set(attempt) == set(get_type_hints(model.Attempt))
