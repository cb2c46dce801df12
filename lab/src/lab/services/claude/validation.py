"""The shape of a Messages API request, refused as the real API refuses it, or sooner.

After Anthropic's reference of `POST /v1/messages` and of errors, and the fields that Claude Code sends.
What neither names is refused: a gateway that adds or drops a field shall be seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lab.services.documents import Json

MODELS = (
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-sonnet-5-5",
    "claude-sonnet-5",
    "claude-haiku-5-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-opus-4-5",
    "claude-opus-4-5-20251101",
    "claude-sonnet-4-6",
    "claude-sonnet-4-5",
    "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5",
    "claude-haiku-4-5-20251001",
)

_FIELDS = {
    "model", "messages", "max_tokens", "metadata", "stop_sequences", "stream", "system", "temperature",
    "thinking", "tool_choice", "tools", "top_k", "top_p", "service_tier", "context_management",
    "output_config", "cache_control",
}  # fmt: skip
_COUNTED_FIELDS = {
    "model", "messages", "system", "thinking", "tool_choice", "tools", "context_management",
    "output_config", "cache_control",
}  # fmt: skip
_TOOL_FIELDS = {
    "name", "description", "input_schema", "cache_control", "type", "strict", "defer_loading",
    "eager_input_streaming", "input_examples", "allowed_callers",
}  # fmt: skip
_USER_BLOCKS = {"text", "image", "document", "tool_result"}
_ASSISTANT_BLOCKS = {"text", "tool_use", "thinking", "redacted_thinking"}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_-]+\Z")


class ApiError(Exception):
    """An answer of the API's documented error shape."""

    def __init__(self, status: int, kind: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.retry_after = retry_after


def _refuse(message: str) -> ApiError:
    return ApiError(400, "invalid_request_error", message)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise _refuse(message)


def _only(found: Iterable[str], known: set[str], where: str) -> None:
    for name in found:
        _require(name in known, f"{where}{name}: Extra inputs are not permitted")


def _is_integer(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def check(body: Json, *, betas: Sequence[str], counting: bool = False) -> None:
    """Raise ApiError unless `body` is a request that the API takes.

    `counting` is for `/v1/messages/count_tokens`, which knows fewer fields.
    """
    _require(isinstance(body, dict), "the body must be a JSON object")
    _only(body, _COUNTED_FIELDS if counting else _FIELDS, "")
    model = body.get("model")
    _require(isinstance(model, str) and model != "", "model: Field required")
    if model not in MODELS:
        raise ApiError(404, "not_found_error", f"model: {model}")
    if not counting:
        tokens = body.get("max_tokens")
        _require(_is_integer(tokens), "max_tokens: Field required, an integer")
        _require(tokens >= 1, "max_tokens: must be greater than or equal to 1")
        _require(isinstance(body.get("stream", False), bool), "stream: must be a boolean")
    _check_thinking(body.get("thinking"), body.get("max_tokens"))
    _check_metadata(body.get("metadata"))
    if "system" in body:
        _check_system(body["system"])
    names = _check_tools(body.get("tools", []))
    _check_choice(body.get("tool_choice"), names)
    temperature = body.get("temperature", 1)
    _require(isinstance(temperature, int | float) and 0 <= temperature <= 1, "temperature: must be in [0, 1]")
    _check_messages(body.get("messages"), betas)


def _check_thinking(thinking: Json, max_tokens: int | None) -> None:
    if thinking is None:
        return
    _require(isinstance(thinking, dict), "thinking: must be an object")
    kind = thinking.get("type")
    _require(kind in {"enabled", "disabled", "adaptive"}, "thinking.type: unknown")
    if kind == "enabled":
        budget = thinking.get("budget_tokens")
        _require(_is_integer(budget) and budget >= 1024, "thinking.budget_tokens: must be at least 1024")
        _require(max_tokens is None or budget < max_tokens, "max_tokens: must exceed thinking.budget_tokens")


def _check_metadata(metadata: Json) -> None:
    if metadata is None:
        return
    _require(isinstance(metadata, dict), "metadata: must be an object")
    _only(metadata, {"user_id"}, "metadata.")
    _require(isinstance(metadata.get("user_id", ""), str | None), "metadata.user_id: must be a string")


def _check_system(system: Json) -> None:
    if isinstance(system, str):
        return
    _require(isinstance(system, list), "system: must be a string or text blocks")
    for index, block in enumerate(system):
        _check_text(block, f"system.{index}")


def _check_text(block: Json, where: str) -> None:
    _require(isinstance(block, dict) and block.get("type") == "text", f"{where}: must be a text block")
    _only(block, {"type", "text", "cache_control", "citations"}, f"{where}.")
    text = block.get("text")
    _require(isinstance(text, str) and text != "", f"{where}: text content blocks must be non-empty")


def _check_tools(tools: Json) -> set[str]:
    _require(isinstance(tools, list), "tools: must be a list")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        where = f"tools.{index}"
        _require(isinstance(tool, dict), f"{where}: must be an object")
        _only(tool, _TOOL_FIELDS, f"{where}.")
        name = tool.get("name")
        _require(isinstance(name, str) and _TOOL_NAME.match(name), f"{where}.name: not a tool name")
        _require(name not in names, "tools: Tool names must be unique")
        schema = tool.get("input_schema")
        _require(
            isinstance(schema, dict) and schema.get("type") == "object",
            f"{where}.input_schema.type: must be object",
        )
        names.add(name)
    return names


def _check_choice(choice: Json, names: set[str]) -> None:
    if choice is None:
        return
    _require(isinstance(choice, dict), "tool_choice: must be an object")
    kind = choice.get("type")
    _require(kind in {"auto", "any", "none", "tool"}, "tool_choice.type: unknown")
    _require(names, "tool_choice: may only be specified while providing tools")
    if kind == "tool":
        _require(choice.get("name") in names, "tool_choice.name: no such tool")


def _check_messages(messages: Json, betas: Sequence[str]) -> None:
    late_system = any(beta.startswith("mid-conversation-") for beta in betas)
    fields = {"role", "content"}
    if any(beta.startswith("per-turn-control-") for beta in betas):
        fields.add("output_config")
    _require(isinstance(messages, list), "messages: Field required")
    _require(messages, "messages: at least one message is required")
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        _require(isinstance(message, dict), f"{where}: must be an object")
        _only(message, fields, f"{where}.")
        role = message.get("role")
        roles = {"user", "assistant", "system"} if late_system and index else {"user", "assistant"}
        _require(role in roles, f"{where}.role: Unexpected role {role!r}")
        _require(index > 0 or role == "user", "messages: first message must use the user role")
        content = message.get("content")
        if isinstance(content, str):
            _require(content != "", f"{where}: content must be non-empty")
            content = [{"type": "text", "text": content}]
        _require(isinstance(content, list) and content, f"{where}.content: must be a string or blocks")
        open_calls = _check_blocks(content, role, open_calls, where)
    _require(messages[-1]["role"] != "assistant", "messages: the last message must not be the assistant's")


def _check_blocks(content: Sequence[Any], role: str, open_calls: set[str], where: str) -> set[str]:
    """Check one message's blocks; the ids of tool calls that still want a result."""
    if role == "system":
        for number, block in enumerate(content):
            _check_text(block, f"{where}.content.{number}")
        return open_calls
    known = _USER_BLOCKS if role == "user" else _ASSISTANT_BLOCKS
    calls: set[str] = set()
    answered: set[str] = set()
    for number, block in enumerate(content):
        place = f"{where}.content.{number}"
        _require(isinstance(block, dict), f"{place}: must be an object")
        kind = block.get("type")
        _require(kind in known, f"{place}: block of type {kind!r} is not allowed for role {role}")
        if kind == "text":
            _check_text(block, place)
        elif kind == "tool_use":
            calls.add(_check_call(block, place, calls))
        elif kind == "tool_result":
            answered.add(_check_result(block, place, open_calls))
    missing = open_calls - answered
    _require(
        not missing,
        f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        + ", ".join(sorted(missing)),
    )
    return calls


def _check_call(block: Mapping[str, Any], where: str, calls: set[str]) -> str:
    identity = block.get("id")
    _require(isinstance(identity, str) and _TOOL_USE_ID.match(identity), f"{where}.id: not an id")
    assert isinstance(identity, str)
    _require(identity not in calls, f"{where}.id: `tool_use` ids must be unique")
    _require(isinstance(block.get("name"), str), f"{where}.name: Field required")
    _require(isinstance(block.get("input"), dict), f"{where}.input: must be an object")
    return identity


def _check_result(block: Mapping[str, Any], where: str, open_calls: set[str]) -> str:
    _only(block, {"type", "tool_use_id", "content", "is_error", "cache_control"}, f"{where}.")
    identity = block.get("tool_use_id")
    _require(isinstance(identity, str) and identity in open_calls, f"{where}: unexpected `tool_use_id`")
    assert isinstance(identity, str)
    content = block.get("content", "")
    _require(isinstance(content, str | list), f"{where}.content: must be a string or blocks")
    return identity
