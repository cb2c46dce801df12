"""A turn as the Messages API sends it: one JSON message, or its server-sent events.

The events are those of Anthropic's "Streaming Messages" page, in its order: message_start; for each
block content_block_start, deltas, content_block_stop; message_delta with the stop reason and the
final usage; message_stop.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from lab.services.claude.conversation import Conversation
from lab.services.claude.scenarios import Turn
from lab.services.httpserver import Cut

_PIECE = 64
_CHARACTERS_A_TOKEN = 4
PING_SECONDS = 1.0


@dataclass(frozen=True)
class Usage:
    """What an answer claims to have cost, in tokens."""

    input_tokens: int
    output_tokens: int

    def document(self, output_tokens: int) -> dict[str, Any]:
        """The API's usage object, with the output tokens known so far."""
        return {
            "input_tokens": self.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "service_tier": "standard",
        }


def count(conversation: Conversation) -> int:
    """Input tokens of a conversation: an estimate, the same for the same request."""
    return max(1, conversation.size // _CHARACTERS_A_TOKEN)


def usage(conversation: Conversation, turn: Turn) -> Usage:
    """The usage of a turn, or what the prompt's marker says it shall be."""
    written = len(turn.text) + len(json.dumps(dict(turn.arguments)))
    marker = conversation.marker
    return Usage(
        marker.number("input-tokens", count(conversation)),
        marker.number("output-tokens", max(1, written // _CHARACTERS_A_TOKEN)),
    )


class Answer:
    """One assistant message."""

    def __init__(self, model: str, turn: Turn, spent: Usage) -> None:
        self._model = model
        self._usage = spent
        self._id = f"msg_lab{secrets.token_hex(10)}"
        self._stop_reason = "tool_use" if turn.tool else "end_turn"
        self._blocks: list[dict[str, Any]] = [{"type": "text", "text": turn.text}]
        if turn.tool:
            self._blocks.append(
                {
                    "type": "tool_use",
                    "id": f"toolu_lab{secrets.token_hex(10)}",
                    "name": turn.tool,
                    "input": dict(turn.arguments),
                }
            )

    def document(self) -> dict[str, Any]:
        """The whole message, for a request that does not stream."""
        return {
            **self._head(),
            "content": self._blocks,
            "stop_reason": self._stop_reason,
            "usage": self._usage.document(self._usage.output_tokens),
        }

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage.document(1),
        }

    def _block_events(self, index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if block["type"] == "text":
            empty, kind, key, content = {**block, "text": ""}, "text_delta", "text", block["text"]
        else:
            empty, kind, key = {**block, "input": {}}, "input_json_delta", "partial_json"
            content = json.dumps(block["input"])
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for start in range(0, len(content), _PIECE):
            piece = content[start : start + _PIECE]
            yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, key: piece}}
        yield {"type": "content_block_stop", "index": index}

    async def stream(self, *, delay: float = 0.0, cut: bool = False) -> AsyncIterator[bytes]:
        """The message as events; after `delay` seconds of pings, or broken off when `cut`."""
        yield _event({"type": "message_start", "message": self._head()})
        yield _event({"type": "ping"})
        end = asyncio.get_running_loop().time() + delay
        while (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, PING_SECONDS))
            yield _event({"type": "ping"})
        for index, block in enumerate(self._blocks):
            for event in self._block_events(index, block):
                yield _event(event)
                if cut and event["type"] == "content_block_delta":
                    raise Cut
        yield _event(
            {
                "type": "message_delta",
                "delta": {"stop_reason": self._stop_reason, "stop_sequence": None},
                "usage": self._usage.document(self._usage.output_tokens),
            }
        )
        yield _event({"type": "message_stop"})


def _event(document: dict[str, Any]) -> bytes:
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return f"event: {document['type']}\ndata: {data}\n\n".encode()
