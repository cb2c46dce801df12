"""A claimed development's names for things outside."""

import pytest

from sdlc_agents.consumer.claims.claim import Claim


@pytest.mark.parametrize(
    ("summary", "title"),
    [
        ("Take a discount", "[SHOP-7] Take a discount"),
        ("  one\r\n two\t", "[SHOP-7] one two"),
        ("\x1b[2Jred\x00\x07\x7f", "[SHOP-7] [2Jred"),
        ("\u202egnp.exe\u2066", "[SHOP-7] gnp.exe"),
        ("", "[SHOP-7]"),
        ("größer 👩‍💻", "[SHOP-7] größer 👩‍💻"),
    ],
)
def test_a_title_is_one_line_of_what_can_be_seen(summary: str, title: str) -> None:
    assert Claim("d", 1, 1, "1", "SHOP-7", "SHOP", summary, "").title == title


def test_a_title_is_no_longer_than_forges_take() -> None:
    title = Claim("d", 1, 1, "1", "SHOP-7", "SHOP", "y" * 200_000, "").title
    assert len(title) == 250
    assert title.endswith("y…")
