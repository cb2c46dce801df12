"""What the lists share."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from sdlc_agents.kernel import paging

MOMENT = TypeAdapter(paging.Moment)


def test_filters_that_are_not_given_narrow_nothing() -> None:
    assert paging.matching(a=None) | paging.within("at", None, None) == {}


def test_operators_in_a_filter_are_data() -> None:
    assert paging.matching(a='{"$ne": 1}', b=None) == {"a": {"$eq": '{"$ne": 1}'}}


def test_a_page_is_full_only_when_nothing_follows() -> None:
    documents = [{"_id": str(number)} for number in range(3)]
    assert paging.cut(documents, 3) == (documents, None)
    assert paging.cut(documents, 2) == (documents[:2], "1")
    assert paging.after({"a": 1}, "1") == {"a": 1, "_id": {"$lt": "1"}}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31t09:30:00.5+01:30", datetime(2026, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC)),
        ("0001-01-01T00:00:00+10:00", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_in_utc(text: str, moment: datetime) -> None:
    assert MOMENT.validate_python(text) == moment


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31T09:30:00", "1769860800", "2026-01-31T09:30:00 00:00", ""])
def test_what_leaves_the_moment_open_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        MOMENT.validate_python(text)
