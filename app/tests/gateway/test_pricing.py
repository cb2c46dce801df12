"""What tokens cost."""

import pytest

from sdlc_agents.gateway.pricing import PRICES, Price, PriceList, Tokens, cost


def test_each_kind_of_token_has_its_price() -> None:
    price = Price(input=1, output=10, cache_write=2, cache_write_1h=4, cache_read=0.5)
    tokens = Tokens(
        input_tokens=1_000_000,
        output_tokens=100_000,
        cache_creation_input_tokens=300_000,
        cache_creation_1h_input_tokens=100_000,
        cache_read_input_tokens=2_000_000,
    )
    assert cost(price, tokens) == pytest.approx(1 + 1 + 0.4 + 0.4 + 1)


def test_a_dated_name_has_the_price_of_its_model_and_a_longer_name_its_own() -> None:
    prices = PriceList({})
    assert prices.find("claude-haiku-4-5-20251001") == ("claude-haiku-4-5", PRICES["claude-haiku-4-5"])
    assert prices.find("claude-opus-5-5") == ("claude-opus-5-5", PRICES["claude-opus-5-5"])
    assert prices.find("claude-opus-5-20270101") == ("claude-opus-5", PRICES["claude-opus-5"])


def test_a_name_that_only_begins_alike_has_no_price() -> None:
    assert PriceList({}).find("claude-opus-55") is None


def test_a_site_may_add_and_replace_prices() -> None:
    own = Price(input=7, output=7, cache_write=7, cache_write_1h=7, cache_read=7)
    prices = PriceList({"claude-opus-5": own, "our-model": own})
    assert prices.find("claude-opus-5") == ("claude-opus-5", own)
    assert prices.find("our-model-2") == ("our-model", own)


def test_a_long_prompt_costs_more_where_the_list_says_so() -> None:
    price = PRICES["claude-haiku-5-5"]
    below = cost(price, Tokens(input_tokens=100_000))
    above = cost(price, Tokens(input_tokens=100_001))
    assert above == pytest.approx(below * 5, rel=1e-3)
