"""What a job may ask of the model's API.

The API has tools of its own that reach the internet from the provider's side (web search and fetch, code execution,
MCP connectors), and it fetches images and documents by URL. Each is a way out of the sandbox that no firewall here
sees, so only tools that the runner itself runs, and content that comes with the request, may pass.
https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.pricing import Price, PriceList

_RUN_BY_THE_CLIENT = ("custom", "bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_")
_FORBIDDEN_FIELDS = ("mcp_servers", "container")


@dataclass(frozen=True)
class Ask:
    """A request that may pass: the model as the request and as the price list name it, and its price."""

    model: str
    listed: str
    price: Price
    streaming: bool


@dataclass(frozen=True)
class Policy:
    """`models` are names, or beginnings of names with `*` after them; none at all allows every model with a price."""

    prices: PriceList
    models: tuple[str, ...] = ()

    def examine(self, body: bytes) -> Ask:
        """Read a request's body; raises `GatewayError` when it must not go out."""
        document = _document(body)
        model = document["model"]
        if self.models and not any(_named(model, name) for name in self.models):
            raise GatewayError(403, f"model {model[:100]} is not allowed here, only {', '.join(self.models)}")
        entry = self.prices.find(model)
        if entry is None:
            raise GatewayError(
                400,
                f"model {model[:100]} has no price here, so its cost cannot be bounded: add it to LLM_GATEWAY_PRICES",
            )
        return Ask(model, *entry, streaming=document.get("stream") is True)


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GatewayError(400, "the body is not JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        raise GatewayError(400, "the body must be an object with a model")
    for field in _FORBIDDEN_FIELDS:
        if document.get(field):
            raise GatewayError(403, f"`{field}` is not allowed here: it reaches out of the sandbox")
    tools = document.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is not None and not str(kind).startswith(_RUN_BY_THE_CLIENT):
            raise GatewayError(403, f"tools of type {str(kind)[:60]} are not allowed here: the provider runs them")
    if any(source.get("type") in {"url", "file"} for source in _sources(document.get("messages"))):
        raise GatewayError(403, "content by URL or file id is not allowed here: send it inline")
    return document


def _named(model: str, name: str) -> bool:
    return model.startswith(name[:-1]) if name.endswith("*") else model == name


def _sources(messages: Any) -> Iterator[dict[str, Any]]:
    waiting = [messages]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if isinstance(source := part.get("source"), dict):
                yield source
            waiting.append(part.get("content"))
