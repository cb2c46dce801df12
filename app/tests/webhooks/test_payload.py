"""Jira's payload to a delivery."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.kernel.errors import InvalidRequestError
from sdlc_agents.webhooks.payload import Component, Delivery, Ignored, TriggerRule, parse
from support.deliveries import fixture, ticket

DEFAULT = TriggerRule("In Development")


def trigger(_project_key: str) -> TriggerRule:
    return DEFAULT


def judged(payload: Any) -> Delivery | Ignored:
    return parse(orjson.dumps(payload), trigger)


def accepted(payload: Any) -> Delivery:
    delivery = judged(payload)
    assert isinstance(delivery, Delivery), delivery
    return delivery


def test_clouds_update_is_a_delivery() -> None:
    assert accepted(fixture("cloud_issue_updated")) == Delivery(
        event_type="jira:issue_updated",
        jira_issue_id="10042",
        jira_issue_key="SHOP-17",
        jira_project_key="SHOP",
        summary="Total is wrong for more than 9 items",
        description=(
            "The *total* is wrong when the basket holds more than 9 items.\r\n\r\n# open the basket\r\n# add ten items"
        ),
        status="In Development",
        previous_status="Selected for Development",
        components=(Component("storefront", "https://git.example.com/shop/storefront"),),
    )


def test_data_centers_update_is_a_delivery() -> None:
    delivery = accepted(fixture("data_center_issue_updated"))
    assert (delivery.jira_issue_key, delivery.jira_project_key) == ("KASSE_NORD-8", "KASSE_NORD")
    assert delivery.summary == "Bon ohne €-Zeichen"
    assert delivery.description.endswith("Grüße — 東京 🧾")
    assert delivery.previous_status == "Zu erledigen"
    assert delivery.components == (Component("Bondrucker", ""),)


def test_a_post_function_without_event_and_changelog_is_a_delivery() -> None:
    delivery = accepted(fixture("data_center_post_function"))
    assert delivery.event_type == "workflow_post_function"
    assert delivery.previous_status == "Zu erledigen"


def test_an_issue_created_in_the_trigger_status_is_a_delivery() -> None:
    delivery = accepted(fixture("cloud_issue_created_in_development"))
    assert delivery.previous_status is None


def test_a_document_becomes_markdown() -> None:
    assert accepted(fixture("cloud_issue_updated_adf")).description == (
        "## What happens\n\n"
        "The **total** is wrong, see [the report](https://example.com/report).\n\n"
        "- open the basket\n- add ten items\n\n"
        "```python\nassert total(basket) == 42\n```"
    )


def test_no_description_is_an_empty_one() -> None:
    delivery = accepted(fixture("cloud_issue_updated_without_description"))
    assert (delivery.description, delivery.components) == ("", ())


def test_a_numeric_issue_id_is_kept_as_text() -> None:
    payload = fixture("cloud_issue_updated")
    payload["issue"]["id"] = 10042
    assert accepted(payload).jira_issue_id == "10042"


def test_without_a_project_the_key_tells_it() -> None:
    payload = ticket("AB-C", 12)
    del payload["issue"]["fields"]["project"]
    assert accepted(payload).jira_project_key == "AB-C"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cloud_issue_updated_summary_only", "did not move"),
        ("cloud_issue_updated_to_done", "not in the trigger status"),
        ("cloud_comment_created", "kind of event"),
        ("cloud_issue_deleted", "kind of event"),
        ("cloud_project_created", "kind of event"),
    ],
)
def test_other_events_are_ignored(name: str, reason: str) -> None:
    outcome = judged(fixture(name))
    assert isinstance(outcome, Ignored)
    assert reason in outcome.reason


def test_the_trigger_status_is_a_setting() -> None:
    body = orjson.dumps(fixture("cloud_issue_updated"))
    assert isinstance(parse(body, lambda _: TriggerRule("Ready for agents")), Ignored)


def test_an_object_about_no_issue_is_ignored() -> None:
    assert isinstance(judged({"hello": "world"}), Ignored)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": "\xed\xa0\x80"}'])
def test_broken_json_is_an_invalid_request(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="not valid JSON"):
        parse(body, trigger)


@pytest.mark.parametrize("levels", [501, 1000, 1024, 1025, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_body_of_too_many_levels_is_an_invalid_request(levels: int, opening: bytes, closing: bytes) -> None:
    inner = levels - 1
    body = b'{"issue": {}, "unknown": ' + opening * inner + b"1" + closing * inner + b"}"
    with pytest.raises(InvalidRequestError, match="deeper than 500 levels"):
        parse(body, trigger)


def test_a_body_of_many_brackets_and_few_levels_is_judged() -> None:
    brackets = b"[" + b"[{}]," * 1000 + b"[" * 498 + b"]" * 498 + b"]"
    body = b'{"unknown": ' + brackets + b"," + orjson.dumps(fixture("cloud_issue_updated")).removeprefix(b"{")
    assert isinstance(parse(body, trigger), Delivery)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"text"', b"null"])
def test_json_that_is_no_object_is_an_invalid_request(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="not a JSON object"):
        parse(body, trigger)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("issue", "SHOP-17"),
        ("issue.fields", []),
        ("issue.key", None),
        ("issue.key", "SHOP 17"),
        ("issue.key", "$where"),
        ("issue.key", "K" * 256),
        ("issue.key", {"$gt": ""}),
        ("issue.id", True),
        ("issue.id", ""),
        ("issue.fields.status", "In Development"),
        ("issue.fields.status.name", 3),
        ("issue.fields.project.key", "a.b"),
        ("issue.fields.summary", 7),
        ("issue.fields.description", [1]),
        ("issue.fields.components", "storefront"),
        ("changelog", []),
        ("changelog.items", {}),
        ("webhookEvent", 1),
    ],
)
def test_a_field_of_another_kind_is_named(path: str, value: object) -> None:
    payload = fixture("cloud_issue_updated")
    *parents, name = path.split(".")
    place: Any = payload
    for parent in parents:
        place = place[parent]
    place[name] = value
    with pytest.raises(InvalidRequestError) as caught:
        judged(payload)
    assert caught.value.message.startswith(f"{path}: must be ")


@given(body=st.binary(max_size=400))
def test_any_bytes_are_judged_or_refused(body: bytes) -> None:
    try:
        parse(body, trigger)
    except InvalidRequestError as error:
        assert error.message  # noqa: PT017 - both ways are right, only another exception is not


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=12), children, max_size=4),
    max_leaves=12,
)
FIELDS = ["summary", "description", "status", "project", "components"]


@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON), issue=st.dictionaries(st.sampled_from(["id", "key"]), JSON)
)
def test_any_value_in_any_field_is_judged_or_refused(fields: dict[str, Any], issue: dict[str, Any]) -> None:
    payload = fixture("cloud_issue_updated")
    payload["issue"].update(issue)
    payload["issue"]["fields"].update(fields)
    try:
        judged(payload)
    except InvalidRequestError as error:
        assert error.message.startswith("issue.")  # noqa: PT017


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where a payload has values: every path in it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, child in inner for place in places(child, (*path, key)))]


READ = ("cloud_issue_updated_adf", "data_center_issue_updated", "data_center_post_function", "cloud_issue_created")
PLACES = [(name, place) for name in READ for place in places(fixture(name))]


@given(at=st.sampled_from(PLACES), value=JSON | st.just({"type": "doc", "content": [{"type": "text", "text": "x"}]}))
def test_any_value_in_any_place_is_judged_or_refused_and_again_in_the_same_way(
    at: tuple[str, tuple[str | int, ...]], value: object
) -> None:
    name, path = at
    payload: Any = fixture(name)
    place = payload
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    body = orjson.dumps(payload)
    try:
        outcome = parse(body, trigger)
    except InvalidRequestError as error:
        with pytest.raises(InvalidRequestError, match=f"^{re.escape(error.message)}$"):
            parse(body, trigger)
        assert len(error.message) < 200  # noqa: PT017 - both ways are right, only another exception is not
        return
    assert outcome == parse(body, trigger)
    if isinstance(outcome, Delivery):
        keys = (outcome.jira_issue_id, outcome.jira_issue_key, outcome.jira_project_key)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,255}", key) for key in keys)
        assert outcome.status == "In Development"
        assert len(outcome.summary) + len(outcome.description) <= len(body)
