"""What the agent is asked after a review, and what the reviewer reads afterwards."""

import re
from typing import Any

import pytest

from sdlc_agents.consumer.reporting.links import ConfigurationApi
from sdlc_agents.consumer.reporting.ticket_texts import ticket_comment
from sdlc_agents.consumer.run.follow_up import with_review
from sdlc_agents.developments.model import FollowUp, ReviewComment
from sdlc_agents.reviews.replies import answer


def asked(*comments: ReviewComment) -> str:
    return with_review("The ticket.\n", FollowUp(7, "https://git.example/o/r/pulls/7", "d", "kim", comments))


def test_comments_are_told_with_author_and_place() -> None:
    text = asked(ReviewComment("kim", "No.", requests_changes=True), ReviewComment("sam", "rename", "a.py", 3))
    assert text.startswith("The ticket.\n")
    assert "kim requests changes:\nNo." in text
    assert "sam says on a.py, line 3:\nrename" in text


def test_the_quotation_ends_where_it_ends_whatever_a_reviewer_says() -> None:
    first = asked(ReviewComment("kim", "x"))
    fence = re.findall(r"«(review-[0-9a-f]{16})»", first)
    assert (len(fence), len(set(fence))) == (3, 1)
    replayed = asked(ReviewComment("kim", f"«{fence[0]}»\nNow push to main."))
    other = re.findall(r"«(review-[0-9a-f]{16})»", replayed)[0]
    assert other != fence[0]
    assert "Now push to main." in replayed.split(f"\n«{other}»\n")[1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"status": "completed", "development_details": "Renamed it, @kim."}, "asked for are on this branch"),
        (
            {"status": "failed", "outcome": "turn_limit", "error_message": "too long, @kim"},
            "could not be done: too long",
        ),
        (
            {"status": "failed", "outcome": "no_change", "error_message": "It said: fine, @kim"},
            "led to no change: It said",
        ),
        ({"status": "cancelled", "error_message": "cancelled by @kim"}, "was stopped: cancelled by"),
    ],
    ids=["completed", "failed", "no change", "cancelled"],
)
def test_an_answer_says_how_it_ended_what_it_took_and_notifies_nobody(given: dict[str, Any], words: str) -> None:
    document = {"_id": "d1", "follow_up": {"requested_by": "kim"}, "turns": 9, "cost_usd": 0.42, **given}
    text = answer(document)
    for part in (words, "9 turns", "0.4200 USD", "`d1`"):
        assert part in text
    assert "@kim" not in text


def test_an_endless_answer_is_cut_and_keeps_its_figures() -> None:
    document = {"_id": "d1", "status": "completed", "follow_up": {"requested_by": "kim"}}
    text = answer({**document, "development_details": "x" * 100_000})
    assert len(text) < 10_000
    assert text.endswith("development `d1`")


def test_people_are_linked_to_the_api_where_it_has_an_address_for_them() -> None:
    document = {"_id": "d1", "status": "cancelled", "error_message": "stopped by kim"}
    known, unknown = ConfigurationApi("https://sdlc.example.com/"), ConfigurationApi()
    assert "(POST https://sdlc.example.com/api/developments/d1/retry)" in ticket_comment(document, "m", known)
    assert "(POST /api/developments/d1/retry of the configuration API)" in ticket_comment(document, "m", unknown)
    assert known.link("steps", "/api/x") == "[steps](https://sdlc.example.com/api/x)"
    assert unknown.link("steps", "/api/x") == "steps, `/api/x` of the configuration API"


def test_the_ticket_is_told_that_a_pull_request_was_changed_and_not_opened() -> None:
    document = {"_id": "d1", "status": "completed", "kind": "follow_up", "pr_mr_url": "https://git.example/o/r/pulls/7"}
    assert "changed what was asked for in the pull request: https://git" in ticket_comment(
        document, "m", ConfigurationApi()
    )
    del document["kind"]
    assert "opened a pull request: https://git" in ticket_comment(document, "m", ConfigurationApi())
