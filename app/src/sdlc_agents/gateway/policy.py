"""What a job may ask of the model's API.

The API has tools of its own that reach the internet from the provider's side (web search and fetch, code execution,
MCP connectors), and it fetches images and documents by URL. Each is a way out of the sandbox that no firewall here
sees, so only tools that the runner itself runs, and content that comes with the request, may pass.
https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview

Options by which a request costs more than its model's price, or by which another model answers, may not pass either.
https://docs.claude.com/en/docs/about-claude/pricing
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sdlc_agents.gateway.bodies import SMALL_BYTES
from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.pricing import Price, PriceList

_RUN_BY_THE_CLIENT = ("custom", "bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_")
_FORBIDDEN_FIELDS = ("mcp_servers", "container")
_AT_THE_BASE_PRICE: Mapping[str, tuple[object, ...]] = {
    "fallbacks": ([],),
    "inference_geo": ("global",),
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
}
# Its tokens are no part of the answer's own.
_COMPACTION = "compact_"
_CONTAINERS = (dict, list)
_MOST_TOKENS = 1_000_000
# A part takes up to 200 bytes when it is read, whatever its size. No context that a model has holds so many.
_MOST_PARTS = 600_000


@dataclass(frozen=True)
class Ask:
    """A request that may pass: the model as the request and as the price list name it, and its price.

    `max_tokens` is the most output that it asks for.
    """

    model: str
    listed: str
    price: Price
    streaming: bool
    max_tokens: int


@dataclass(frozen=True)
class Policy:
    """`models` are names, or beginnings of names with `*` after them; none at all allows every model with a price."""

    prices: PriceList
    models: tuple[str, ...] = ()

    def examine(self, body: bytes | bytearray) -> Ask:
        """Read a request's body; raises `GatewayError` when it must not go out."""
        document = _document(body)
        _check_options(document)
        _check_content(document)
        model = document["model"]
        if self.models and not any(_named(model, name) for name in self.models):
            raise GatewayError(403, f"model {model[:100]} is not allowed here, only {', '.join(self.models)}")
        entry = self.prices.find(model)
        if entry is None:
            raise GatewayError(
                400,
                f"model {model[:100]} has no price here, so its cost cannot be bounded: add it to LLM_GATEWAY_PRICES",
            )
        return Ask(model, *entry, streaming=document.get("stream") is True, max_tokens=_max_tokens(document))


def _document(body: bytes | bytearray) -> dict[str, Any]:
    if len(body) > SMALL_BYTES and sum(body.count(mark) for mark in b"{[,") > _MOST_PARTS:
        raise GatewayError(413, f"the body is made of more than {_MOST_PARTS} parts")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(400, "the body is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        raise GatewayError(400, "the body must be an object with a model")
    return document


def _check_options(document: dict[str, Any]) -> None:
    for field in _FORBIDDEN_FIELDS:
        if document.get(field):
            raise GatewayError(403, f"`{field}` is not allowed here: it reaches out of the sandbox")
    for field, allowed in _AT_THE_BASE_PRICE.items():
        if document.get(field) is not None and document[field] not in allowed:
            raise _uncountable(field)
    if any(str(edit.get("type")).startswith(_COMPACTION) for edit in _edits(document)):
        raise _uncountable("context_management")


def _check_content(document: dict[str, Any]) -> None:
    tools = document.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is not None and not str(kind).startswith(_RUN_BY_THE_CLIENT):
            raise GatewayError(403, f"tools of type {str(kind)[:60]} are not allowed here: the provider runs them")
    if any(source.get("type") in ("url", "file") for source in _sources(document)):
        raise GatewayError(403, "content by URL or file id is not allowed here: send it inline")


def _uncountable(field: str) -> GatewayError:
    return GatewayError(403, f"this value of `{field}` is not allowed here: what it costs cannot be counted")


def _edits(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    management = document.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    for edit in edits if isinstance(edits, list) else ():
        if isinstance(edit, dict):
            yield edit


def _max_tokens(document: dict[str, Any]) -> int:
    given = document.get("max_tokens")
    return min(given, _MOST_TOKENS) if isinstance(given, int) and given > 0 else 0


def _named(model: str, name: str) -> bool:
    return model.startswith(name[:-1]) if name.endswith("*") else model == name


def _sources(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every `source` in the messages and the system prompt, however deep: content holds content of many kinds."""
    waiting = [document.get("messages"), document.get("system")]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if isinstance(source := part.get("source"), dict):
                yield source
            # What a tool of the runner is called with is its own affair, and the API does not read it.
            call = part.get("type") == "tool_use"
            for name, value in part.items():
                if type(value) in _CONTAINERS and not (call and name == "input"):
                    waiting.append(value)
