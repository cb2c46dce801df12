"""What a script may look at: the conversation so far, as one Messages API request tells it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.services.documents import Json

_MARKER = re.compile(r"\[\[lab:([a-z-]+)((?:\s+[a-z-]+=[^\s\]]+)*)\s*\]\]")
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)


@dataclass(frozen=True)
class Marker:
    """`[[lab:NAME key=value …]]` in the prompt: which script, with which settings."""

    name: str
    settings: Mapping[str, str]

    def number(self, key: str, default: int) -> int:
        """An integer setting; ValueError when it is none."""
        return int(self.settings.get(key, default))


DEFAULT = Marker("default", {})


@dataclass(frozen=True)
class Step:
    """A tool call that was made, and what came back."""

    tool: str
    result: str
    failed: bool


@dataclass(frozen=True)
class Conversation:
    """The prompt, the tools on offer, the steps already taken, and how often the model came to an end before."""

    prompt: str
    tools: frozenset[str]
    steps: tuple[Step, ...]
    identity: str
    size: int
    ends: int = 0

    @property
    def marker(self) -> Marker:
        """The prompt's last marker."""
        marker = DEFAULT
        for name, settings in _MARKER.findall(self.prompt):
            pairs = (setting.split("=", 1) for setting in settings.split())
            marker = Marker(name, dict(pairs))
        return marker


def _blocks(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(content: Json) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", "") for block in content or [])


def _steps(messages: list[Mapping[str, Any]]) -> Iterator[Step]:
    calls: dict[str, str] = {}
    for message in messages:
        for block in _blocks(message):
            if block["type"] == "tool_use":
                calls[block["id"]] = block["name"]
            elif block["type"] == "tool_result":
                yield Step(
                    calls[block["tool_use_id"]],
                    _text(block.get("content", "")),
                    bool(block.get("is_error", False)),
                )


def _ends(messages: list[Mapping[str, Any]]) -> int:
    """How many of the model's messages want no tool: after each of them a person said something more."""
    return sum(
        message["role"] == "assistant" and all(block["type"] != "tool_use" for block in _blocks(message))
        for message in messages
    )


def read(body: Mapping[str, Any]) -> Conversation:
    """The conversation in a request that `validation.check` has found good."""
    messages: list[Mapping[str, Any]] = body["messages"]
    said = [
        block["text"]
        for message in messages
        if message["role"] == "user"
        for block in _blocks(message)
        if block["type"] == "text"
    ]
    first = _REMINDER.sub("", said[0]) if said else ""
    return Conversation(
        prompt=_REMINDER.sub("", "\n".join(said)).strip(),
        tools=frozenset(tool["name"] for tool in body.get("tools", [])),
        steps=tuple(_steps(messages)),
        identity=str(body.get("metadata", {}).get("user_id") or first),
        size=len(json.dumps([body.get("system", ""), messages, body.get("tools", [])])),
        ends=_ends(messages),
    )
