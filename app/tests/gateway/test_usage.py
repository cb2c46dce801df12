"""Tokens are read out of an answer in whatever pieces it comes."""

from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.gateway.pricing import Tokens
from sdlc_agents.gateway.usage import UsageMeter


def event(name: str, **fields: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps({"type": name, **fields}))


START = event(
    "message_start",
    message={
        "usage": {
            "input_tokens": 100,
            "output_tokens": 1,
            "cache_read_input_tokens": 30,
            "cache_creation_input_tokens": 20,
            "cache_creation": {"ephemeral_1h_input_tokens": 5, "ephemeral_5m_input_tokens": 15},
        }
    },
)
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": 'he said "usage": 1 ' * 20})
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 77}) + event("message_stop")
WHOLE = Tokens(
    input_tokens=100,
    output_tokens=77,
    cache_read_input_tokens=30,
    cache_creation_input_tokens=20,
    cache_creation_1h_input_tokens=5,
)


@given(st.lists(st.integers(0, len(START + DELTA + END)), max_size=20))
def test_a_stream_is_counted_the_same_however_it_is_cut(cuts: list[int]) -> None:
    stream = START + event("ping") + DELTA + END
    meter = UsageMeter(request_bytes=10, streaming=True)
    places = [0, *sorted(cuts), len(stream)]
    for begin, end in pairwise(places):
        meter.feed(stream[begin:end])
    assert meter.tokens() == WHOLE


@given(st.binary(max_size=2000))
def test_nothing_that_comes_can_break_it(data: bytes) -> None:
    for streaming in (True, False):
        meter = UsageMeter(request_bytes=400, streaming=streaming)
        meter.feed(data)
        assert meter.tokens().output_tokens >= 0


def test_hanging_up_before_the_end_does_not_make_the_output_free() -> None:
    meter = UsageMeter(request_bytes=10, streaming=True)
    meter.feed(START + DELTA * 10)
    tokens = meter.tokens()
    assert tokens.input_tokens == 100
    assert tokens.output_tokens > 500


def test_hanging_up_before_the_beginning_does_not_make_the_prompt_free() -> None:
    meter = UsageMeter(request_bytes=40_000, streaming=True)
    assert meter.tokens().input_tokens == 10_000


def test_an_answer_in_one_piece_is_counted() -> None:
    meter = UsageMeter(request_bytes=10, streaming=False)
    body = orjson.dumps({"type": "message", "usage": {"input_tokens": 3, "output_tokens": 4}})
    meter.feed(body[:10])
    meter.feed(body[10:])
    assert meter.tokens() == Tokens(input_tokens=3, output_tokens=4)


def test_no_less_is_counted_than_the_iterations_of_an_answer_together() -> None:
    """Compaction and other models of one request show there alone."""
    iterations = [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 300, "cache_read_input_tokens": 7},
        {
            "type": "message",
            "input_tokens": 100,
            "output_tokens": 77,
            "cache_creation": {"ephemeral_1h_input_tokens": 5},
        },
        "nonsense",
    ]
    usage = {"input_tokens": 100, "output_tokens": 77, "cache_read_input_tokens": 30, "iterations": iterations}
    expected = Tokens(
        input_tokens=1100, output_tokens=377, cache_read_input_tokens=30, cache_creation_1h_input_tokens=5
    )
    whole = UsageMeter(request_bytes=10, streaming=False)
    whole.feed(orjson.dumps({"type": "message", "usage": usage}))
    assert whole.tokens() == expected
    stream = UsageMeter(request_bytes=10, streaming=True)
    stream.feed(START.replace(b'"cache_creation_input_tokens":20,', b"").replace(b':5,"e', b':0,"e'))
    stream.feed(event("message_delta", delta={}, usage=usage))
    assert stream.tokens() == expected


def test_what_an_answer_that_did_not_come_in_time_may_have_cost_is_counted() -> None:
    meter = UsageMeter(request_bytes=40_000, streaming=False)
    meter.lost(max_tokens=500)
    assert meter.tokens() == Tokens(input_tokens=10_000, output_tokens=500)
