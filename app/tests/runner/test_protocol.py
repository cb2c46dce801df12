"""Events: what the runner writes, the consumer can read and keep."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from sdlc_agents.kernel.clock import now
from sdlc_agents.runs.protocol import EVENTS, Message, plain, shorten, to_line


@pytest.mark.parametrize("value", ["half \ud83d a sign", {"text": "half \ud83d a sign"}, ["\udfff"]], ids=repr)
def test_text_that_no_encoding_has_is_written_all_the_same(value: object) -> None:
    event = Message(at=now(), text=plain(value))
    assert EVENTS.validate_json(to_line(event)) == event
    assert "?" in event.text


def test_what_can_be_written_is_not_changed() -> None:
    assert shorten("grün 🙂") == "grün 🙂"
    assert plain({"path": "grün 🙂"}) == '{"path":"grün 🙂"}'


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"])
def test_a_time_that_cannot_be_kept_is_no_event(at: str) -> None:
    line = to_line(Message(at=datetime(2026, 1, 1, tzinfo=UTC), text="x"))
    EVENTS.validate_json(line)
    with pytest.raises(ValidationError):
        EVENTS.validate_json(line.replace(b"2026-01-01T00:00:00Z", at.encode()))
