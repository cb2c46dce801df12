"""What an answer of the model costs, from its `usage` and a price list.

Prices are USD per million tokens, from https://docs.claude.com/en/docs/about-claude/pricing. A model is found by the
longest name that its own begins with, so that dated names (`claude-haiku-4-5-20251001`) need no entry.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sdlc_agents.runs.protocol import Usage

_MILLION = 1_000_000
_Usd = Annotated[float, Field(ge=0, le=10_000)]


class Price(BaseModel):
    """Prices of one model. `long_prompt` holds where the whole prompt has more than `above_tokens` tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: _Usd
    output: _Usd
    cache_write: _Usd
    cache_write_1h: _Usd
    cache_read: _Usd
    above_tokens: Annotated[int, Field(ge=1)] | None = None
    long_prompt: "Price | None" = None


class Tokens(Usage):
    """Usage with the part of the cache writes that is kept for an hour, which costs more."""

    cache_creation_1h_input_tokens: Annotated[int, Field(ge=0)] = 0


def _standard(given: float, output: float, *, cache_read: float | None = None) -> Price:
    return Price(
        input=given,
        output=output,
        cache_write=given * 1.25,
        cache_write_1h=given * 2,
        cache_read=given * 0.1 if cache_read is None else cache_read,
    )


PRICES: Mapping[str, Price] = {
    "claude-fable-5": _standard(10, 50),
    "claude-fable-5-1": _standard(10, 50, cache_read=0.25),
    "claude-fable-5-2": _standard(8, 40, cache_read=0.2),
    "claude-opus-5": _standard(5, 25),
    "claude-opus-5-5": _standard(4, 20, cache_read=0.2),
    "claude-opus-4": _standard(15, 75),
    "claude-opus-4-5": _standard(5, 25),
    "claude-opus-4-6": _standard(5, 25),
    "claude-opus-4-7": _standard(5, 25),
    "claude-opus-4-8": _standard(5, 25),
    "claude-sonnet-5": _standard(2, 10),
    "claude-sonnet-5-5": _standard(2, 10, cache_read=0.1),
    "claude-sonnet-4": _standard(3, 15),
    "claude-3-7-sonnet": _standard(3, 15),
    "claude-haiku-5-5": _standard(0.1, 0.5).model_copy(
        update={"above_tokens": 100_000, "long_prompt": _standard(0.5, 2.5)}
    ),
    "claude-haiku-4-5": _standard(1, 5),
    "claude-3-5-haiku": _standard(0.8, 4),
}


class PriceList:
    """The built-in prices with a site's own on top."""

    def __init__(self, additional: Mapping[str, Price]) -> None:
        self._prices = {**PRICES, **additional}

    def find(self, model: str) -> tuple[str, Price] | None:
        """The entry of a model and its name in the list; None when there is none."""
        names = [name for name in self._prices if model == name or model.startswith(f"{name}-")]
        if not names:
            return None
        name = max(names, key=len)
        return name, self._prices[name]


def cost(price: Price, tokens: Tokens) -> float:
    """What the tokens cost, in USD."""
    prompt = tokens.input_tokens + tokens.cache_creation_input_tokens + tokens.cache_read_input_tokens
    if price.long_prompt is not None and price.above_tokens is not None and prompt > price.above_tokens:
        price = price.long_prompt
    hour = min(tokens.cache_creation_1h_input_tokens, tokens.cache_creation_input_tokens)
    return (
        tokens.input_tokens * price.input
        + tokens.output_tokens * price.output
        + (tokens.cache_creation_input_tokens - hour) * price.cache_write
        + hour * price.cache_write_1h
        + tokens.cache_read_input_tokens * price.cache_read
    ) / _MILLION
