"""AMQP 0-9-1 frames of a publish, as bytes: many messages become one write.

A general codec builds and walks objects for every frame; here only three frames with fixed fields are needed.
https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 (frames), 4.2.6 (content), 1.8 (basic)
"""

import struct
from dataclasses import dataclass
from datetime import datetime

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_BASIC, _PUBLISH = 60, 40
_MANDATORY = 1
_PERSISTENT = 2
# content-type, content-encoding, delivery-mode, message-id, timestamp, type
_PROPERTIES = 1 << 15 | 1 << 14 | 1 << 12 | 1 << 7 | 1 << 6 | 1 << 5
_FRAME = struct.Struct(">BHI")
_CONTENT = struct.Struct(">HHQH")
FRAME_OVERHEAD = _FRAME.size + len(_END)


@dataclass(frozen=True, slots=True)
class Message:
    """A persistent message of JSON, published as mandatory; `message_id` and `type` have at most 255 bytes."""

    body: bytes
    exchange: str
    routing_key: str
    message_id: str
    timestamp: datetime
    type: str


def encode(message: Message, channel: int, frame_max: int) -> bytes:
    """Its frames on a channel: method, header, and as many bodies as `frame_max` (bytes, with overhead) asks for."""
    method = (
        struct.pack(">HHH", _BASIC, _PUBLISH, 0)
        + _short(message.exchange)
        + _short(message.routing_key)
        + bytes((_MANDATORY,))
    )
    header = (
        _CONTENT.pack(_BASIC, 0, len(message.body), _PROPERTIES)
        + b"\x10application/json\x05utf-8"
        + bytes((_PERSISTENT,))
        + _short(message.message_id)
        + struct.pack(">Q", int(message.timestamp.timestamp()))
        + _short(message.type)
    )
    room = frame_max - FRAME_OVERHEAD
    parts = [_frame(_METHOD, channel, method), _frame(_HEADER, channel, header)]
    parts += [_frame(_BODY, channel, message.body[start : start + room]) for start in range(0, len(message.body), room)]
    return b"".join(parts)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"".join((_FRAME.pack(kind, channel, len(payload)), payload, _END))


def _short(text: str) -> bytes:
    content = text.encode()
    return bytes((len(content),)) + content
