"""What is kept of a forge's answers, and for how long."""

import secrets

from sdlc_agents.forges.http_cache import HttpCache


def test_an_answer_is_had_back_as_it_was() -> None:
    answers = HttpCache(1000)
    answers.keep("a", 'W/"1"', b"one")
    answers.keep("a", 'W/"2"', b"two")
    kept = answers.get("a")
    assert kept is not None
    assert (kept.tag, kept.content) == ('W/"2"', b"two")
    assert answers.get("b") is None


def test_those_that_were_not_asked_for_longest_make_room() -> None:
    answers = HttpCache(1000)
    answers.keep("a", "1", secrets.token_bytes(400))
    answers.keep("b", "1", secrets.token_bytes(400))
    assert answers.get("a") is not None
    answers.keep("c", "1", secrets.token_bytes(400))
    assert [answers.get(key) is not None for key in "abc"] == [True, False, True]


def test_one_that_is_too_large_is_not_kept_and_what_it_replaces_is_gone() -> None:
    answers = HttpCache(100)
    answers.keep("a", "1", b"one")
    answers.keep("a", "2", secrets.token_bytes(1000))
    assert answers.get("a") is None
    answers.keep("b", "1", b"one")
    assert answers.get("b") is not None
