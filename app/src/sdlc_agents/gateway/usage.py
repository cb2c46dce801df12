"""Reading the tokens out of an answer while it passes by.

The Messages API reports them in the JSON's `usage`, or, streaming, in `message_start` (input) and cumulatively in
`message_delta` (output): https://docs.claude.com/en/docs/build-with-claude/streaming

Where the API worked in several steps, `usage.iterations` lists each with its own tokens, and the sum beside it may
leave some of them out: https://docs.claude.com/en/docs/build-with-claude/compaction
"""

from typing import Any

import orjson

from sdlc_agents.gateway.pricing import Tokens

_BYTES_A_TOKEN = 4
_JSON_BYTES = 64 * 1024 * 1024
_LINE_BYTES = 4 * 1024 * 1024


class UsageMeter:
    """Feed it an answer's bytes, ask for `tokens` when it is over, however it ended.

    An answer that was broken off has been paid for as well: what it did not report is estimated from the bytes of the
    request and of what came, so that hanging up early buys nothing.
    """

    def __init__(self, *, request_bytes: int, streaming: bool) -> None:
        self._request_bytes = request_bytes
        self._streaming = streaming
        self._pending = bytearray()
        self._usage: dict[str, Any] = {}
        self._content_bytes = 0
        self._lost_tokens = 0
        self._final = False

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the answer."""
        if not self._streaming:
            if len(self._pending) <= _JSON_BYTES:
                self._pending += chunk
            return
        self._pending += chunk
        *lines, rest = bytes(self._pending).split(b"\n")
        self._pending = bytearray(rest)
        for line in lines:
            self._line(line)
        if len(self._pending) > _LINE_BYTES:
            self._content_bytes += len(self._pending)
            self._pending.clear()

    def lost(self, max_tokens: int) -> None:
        """Nobody will see the rest: an answer that would have come in one piece may be written, up to `max_tokens`."""
        if not self._streaming:
            self._lost_tokens = max_tokens

    def tokens(self) -> Tokens:
        """What the answer used."""
        if not self._streaming:
            self._document(bytes(self._pending))
        counted = _counted(self._usage)
        iterations = self._usage.get("iterations")
        steps = (
            [_counted(step) for step in iterations if isinstance(step, dict)] if isinstance(iterations, list) else ()
        )
        for name in Tokens.model_fields:
            together = sum(step.get(name, 0) for step in steps)
            if together > counted.get(name, 0):
                counted[name] = together
        if not self._usage:
            counted["input_tokens"] = self._request_bytes // _BYTES_A_TOKEN
        if not self._final:
            estimate = self._content_bytes // _BYTES_A_TOKEN
            counted["output_tokens"] = max(estimate, self._lost_tokens, counted.get("output_tokens", 0))
        return Tokens(**counted)

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        if b'"usage"' not in line:
            if b"content_block" in line:
                self._content_bytes += len(line)
            return
        event = _loads(line[5:])
        if event.get("type") == "message_start" and isinstance(event.get("message"), dict):
            self._merge(event["message"].get("usage"))
        elif event.get("type") == "message_delta":
            self._merge(event.get("usage"))
            self._final = True
        else:
            self._content_bytes += len(line)

    def _document(self, body: bytes) -> None:
        document = _loads(body)
        self._merge(document.get("usage"))
        self._final = bool(self._usage)
        self._content_bytes = len(body)

    def _merge(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}


def _counted(usage: dict[str, Any]) -> dict[str, int]:
    counted = {name: _count(usage.get(name)) for name in Tokens.model_fields if name in usage}
    creation = usage.get("cache_creation")
    if isinstance(creation, dict):
        counted["cache_creation_1h_input_tokens"] = _count(creation.get("ephemeral_1h_input_tokens"))
    return counted


def _loads(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
