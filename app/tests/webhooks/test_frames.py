"""The frames of a publish, as a general AMQP codec reads and writes them."""

from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from sdlc_agents.webhooks.frames import FRAME_OVERHEAD, Message, encode

FRAME_MAX = 4096
NAME = st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=127)


def message(body: bytes, routing_key: str = "webhook.development.T", message_id: str = "a" * 24) -> Message:
    moment = datetime(2026, 3, 4, 9, 15, 30, tzinfo=UTC)
    return Message(body, "webhook.development.request", routing_key, message_id, moment, "development.requested")


def frames(content: bytes) -> list[tuple[int, object]]:
    found: list[tuple[int, object]] = []
    while content:
        size, channel, frame = pamqp.frame.unmarshal(content)
        found.append((channel, frame))
        content = content[size:]
    return found


@given(st.binary(max_size=3 * FRAME_MAX), NAME, NAME)
def test_a_codec_reads_what_was_meant(body: bytes, routing_key: str, message_id: str) -> None:
    content = encode(message(body, routing_key, message_id), 7, FRAME_MAX)
    (_, method), (_, header), *bodies = frames(content)
    assert {channel for channel, _ in frames(content)} == {7}
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory, method.immediate) == (
        "webhook.development.request",
        routing_key,
        True,
        False,
    )
    assert isinstance(header, ContentHeader)
    assert header.body_size == len(body)
    properties = header.properties
    assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")
    assert (properties.delivery_mode, properties.message_id) == (2, message_id)
    assert (properties.timestamp, properties.message_type) == (
        datetime(2026, 3, 4, 9, 15, 30, tzinfo=UTC),
        "development.requested",
    )
    assert b"".join(part.value for _, part in bodies if isinstance(part, ContentBody)) == body


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - FRAME_OVERHEAD, FRAME_MAX - FRAME_OVERHEAD + 1, 5 * FRAME_MAX])
def test_no_frame_is_larger_than_the_connection_allows(size: int) -> None:
    content = encode(message(b"x" * size), 1, FRAME_MAX)
    while content:
        length, _, _ = pamqp.frame.unmarshal(content)
        assert length <= FRAME_MAX
        content = content[length:]


def test_the_frames_are_those_that_a_codec_writes() -> None:
    sent = message(b'{"a":1}')
    properties = Basic.Properties(
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        message_id=sent.message_id,
        timestamp=sent.timestamp,
        message_type=sent.type,
    )
    expected: list[Frame | ContentHeader | ContentBody] = [
        Basic.Publish(exchange=sent.exchange, routing_key=sent.routing_key, mandatory=True),
        ContentHeader(body_size=len(sent.body), properties=properties),
        ContentBody(sent.body),
    ]
    assert encode(sent, 3, FRAME_MAX) == b"".join(pamqp.frame.marshal(frame, 3) for frame in expected)
