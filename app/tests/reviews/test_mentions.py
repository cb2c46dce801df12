"""A mention is one as forges understand it: in what was written for people, of the whole name."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.reviews.mentions import mentions

BOT = "sdlc-bot"
TEXT = st.text(alphabet=st.characters(exclude_characters="`~<>", exclude_categories=["Cs"]), max_size=60)
LINES = st.lists(st.text(alphabet="ab @sdlc-bot.,\t", max_size=30), max_size=6)
PIECES = ["`", "``", "```", "````", " ", "a", "\nx", "\n\nx", "\n \t\nx", f" @{BOT} "]
SPAN = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n[ \t]*\n).)*?(?<!`)\1(?!`)", re.DOTALL)
"""What a span of code is, said in one line; too slow for a text that is written to make it slow."""


@pytest.mark.parametrize(
    "body",
    [
        "@sdlc-bot please rename it",
        "please rename it, @sdlc-bot",
        "@SDLC-Bot: rename it",
        "Could you (@sdlc-bot) rename it?",
        "Thanks @sdlc-bot.",
        "Thanks @sdlc-bot.\nIt is fine now.",
        "**@sdlc-bot** rename",
        "> you said this\n\n@sdlc-bot and that is wrong",
        "```\ncode\n```\n@sdlc-bot explain that",
        "`code` @sdlc-bot `more code`",
        "an unpaired ` here\n\n@sdlc-bot there `",
        "~~~ text\n```\n~~~\n@sdlc-bot",
        "a ` @sdlc-bot `` b",
        "a ```` b ``` @sdlc-bot `` c `",
        "`a` @sdlc-bot ``b``",
        "``a ` b`` @sdlc-bot `",
        "`a``b` @sdlc-bot `",
        "an unpaired ` here\n \t\n@sdlc-bot `there`",
        "an unpaired `` here\n\n\n@sdlc-bot there ``",
        "a`b`@sdlc-bot",
    ],
)
def test_a_mention_counts(body: str) -> None:
    assert mentions(body, BOT)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "sdlc-bot",
        "mail@sdlc-bot",
        "mail@sdlc-bot.example",
        "@sdlc-bot.example",
        "@sdlc-bot-2 rename it",
        "@sdlc-bots",
        "@sdlc-bot_x",
        "@@sdlc-bot",
        "https://git.example/@sdlc-bot",
        "@sdlc-bot/reviewers",
        "> @sdlc-bot did this",
        "  > @sdlc-bot did this",
        "```\n@sdlc-bot\n```",
        "```python\n@sdlc-bot\ndef f(): ...\n```",
        "~~~\n@sdlc-bot\n~~~",
        "````\n```\n@sdlc-bot\n````",
        "```\nnever closed\n\n@sdlc-bot",
        "run `git log --author @sdlc-bot` once",
        "``a ` @sdlc-bot``",
        "`a `` @sdlc-bot `` b`",
        "``a ` @sdlc-bot ` b``",
        "a ``` b ` c `` @sdlc-bot ```",
        "a ```` b ` @sdlc-bot ` c",
        "`a` `` `@sdlc-bot` b",
        "``a` @sdlc-bot ``` b`",
        "one ` of\n@sdlc-bot\nthree lines `",
        "an unpaired ` here\n\nand `@sdlc-bot` there",
        "<!-- @sdlc-bot -->",
        "<!-- never closed @sdlc-bot",
    ],
)
def test_what_only_looks_like_a_mention_does_not(body: str) -> None:
    assert not mentions(body, BOT)


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_a_mention_counts_where_no_span_of_code_is(pieces: list[str]) -> None:
    body = "x" + "".join(pieces)
    assert mentions(body, BOT) == (f" @{BOT} " in SPAN.sub(" ", body))


@pytest.mark.parametrize("said", [f"`@{BOT}` ", ""])
def test_text_that_is_written_to_be_slow_to_read_is_not(said: str) -> None:
    body = said + " ".join("`" * length for length in range(1, 632))
    assert len(body) > 200_000 - 1000
    begin = time.process_time()
    assert not any(mentions(body, BOT) for _ in range(25))
    assert time.process_time() - begin < 2


def test_an_application_is_mentioned_without_its_suffix() -> None:
    assert mentions("@sdlc please", "sdlc[bot]")
    assert not mentions("@sdlc2 please", "sdlc[bot]")


def test_nobody_is_mentioned_by_no_name() -> None:
    assert not mentions("@ please", "")


@given(TEXT, TEXT)
def test_between_blanks_on_a_line_of_its_own_it_always_counts(before: str, after: str) -> None:
    assert mentions(f"{before}\n\nso, @{BOT} do it\n\n{after}", BOT)


@given(LINES, st.sampled_from("`~"), st.integers(3, 6))
def test_in_a_block_of_code_it_never_counts(lines: list[str], mark: str, length: int) -> None:
    block = "\n".join([mark * length, *lines, f"@{BOT}", mark * length])
    assert not mentions(block, BOT)
    assert not mentions(f"Look:\n{block}\nYes.", BOT)


@given(LINES)
def test_in_a_quotation_it_never_counts(lines: list[str]) -> None:
    assert not mentions("\n".join(f"> {line}" for line in [*lines, f"@{BOT}"]), BOT)


@given(st.text(max_size=300))
def test_without_the_sign_nobody_is_mentioned_and_no_text_breaks_it(text: str) -> None:
    assert not mentions(text.replace("@", "a"), BOT)
    mentions(text, BOT)


@given(st.text(alphabet="`~ \n@sdlc-bot<!->", max_size=200))
def test_text_made_of_marks_is_read_to_its_end(text: str) -> None:
    assert mentions(f"{text}\n", BOT) in {True, False}
