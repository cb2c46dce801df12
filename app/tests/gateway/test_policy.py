"""What may be asked of the model's API."""

from typing import Any

import orjson
import pytest

from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.policy import examine
from sdlc_agents.gateway.pricing import PriceList

PRICES = PriceList({})
MODEL = "claude-sonnet-5-5"


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **fields})


def test_tools_that_the_runner_runs_may_pass() -> None:
    tools = [{"name": "Read", "input_schema": {}}, {"type": "custom", "name": "x"}, {"type": "bash_20250124"}]
    asked = examine(body(tools=tools, stream=True), PRICES)
    assert (asked.model, asked.listed, asked.streaming) == (MODEL, MODEL, True)


@pytest.mark.parametrize(
    "kind", ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "mcp_toolset"]
)
def test_tools_that_the_provider_runs_may_not(kind: str) -> None:
    with pytest.raises(GatewayError, match="the provider runs them") as caught:
        examine(body(tools=[{"type": kind, "name": "x"}]), PRICES)
    assert caught.value.status == 403


@pytest.mark.parametrize("field", ["mcp_servers", "container"])
def test_fields_that_reach_out_may_not(field: str) -> None:
    with pytest.raises(GatewayError, match=field):
        examine(body(**{field: [{"url": "https://evil.example"}]}), PRICES)


def test_content_that_the_provider_would_fetch_may_not() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://evil.example/?secret"}}
    nested = {"type": "tool_result", "tool_use_id": "x", "content": [image]}
    for content in ([image], [nested]):
        with pytest.raises(GatewayError, match="send it inline"):
            examine(body(messages=[{"role": "user", "content": content}]), PRICES)


def test_inline_content_may_pass() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    assert examine(body(messages=[{"role": "user", "content": [image]}]), PRICES).model == MODEL


def test_a_model_without_a_price_may_not() -> None:
    with pytest.raises(GatewayError, match="LLM_GATEWAY_PRICES"):
        examine(body(model="unheard-of"), PRICES)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"model": 1}'])
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        examine(text, PRICES)
    assert caught.value.status == 400
