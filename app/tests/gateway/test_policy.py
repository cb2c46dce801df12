"""What may be asked of the model's API."""

from typing import Any

import orjson
import pytest

from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.policy import Policy
from sdlc_agents.gateway.pricing import PriceList

POLICY = Policy(PriceList({}))
MODEL = "claude-sonnet-5-5"


def body(**fields: Any) -> bytes:
    return orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **fields})


def test_tools_that_the_runner_runs_may_pass() -> None:
    tools = [{"name": "Read", "input_schema": {}}, {"type": "custom", "name": "x"}, {"type": "bash_20250124"}]
    asked = POLICY.examine(body(tools=tools, stream=True))
    assert (asked.model, asked.listed, asked.streaming) == (MODEL, MODEL, True)


@pytest.mark.parametrize(
    "kind", ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825", "mcp_toolset"]
)
def test_tools_that_the_provider_runs_may_not(kind: str) -> None:
    with pytest.raises(GatewayError, match="the provider runs them") as caught:
        POLICY.examine(body(tools=[{"type": kind, "name": "x"}]))
    assert caught.value.status == 403


@pytest.mark.parametrize("field", ["mcp_servers", "container"])
def test_fields_that_reach_out_may_not(field: str) -> None:
    with pytest.raises(GatewayError, match=field):
        POLICY.examine(body(**{field: [{"url": "https://evil.example"}]}))


def test_content_that_the_provider_would_fetch_may_not() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://evil.example/?secret"}}
    nested = {"type": "tool_result", "tool_use_id": "x", "content": [image]}
    for content in ([image], [nested]):
        with pytest.raises(GatewayError, match="send it inline"):
            POLICY.examine(body(messages=[{"role": "user", "content": content}]))


def test_inline_content_may_pass() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    assert POLICY.examine(body(messages=[{"role": "user", "content": [image]}])).model == MODEL


def test_a_model_without_a_price_may_not() -> None:
    with pytest.raises(GatewayError, match="LLM_GATEWAY_PRICES"):
        POLICY.examine(body(model="unheard-of"))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"model": 1}'])
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        POLICY.examine(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-4-5-20251001"])
def test_a_model_may_be_named_or_meant_by_the_beginning_of_its_name(model: str) -> None:
    policy = Policy(PriceList({}), ("claude-sonnet-5-5", "claude-haiku-*"))
    assert policy.examine(body(model=model)).model == model


@pytest.mark.parametrize("model", ["claude-opus-5", "claude-sonnet-5", "claude-sonnet-5-5-20260101"])
def test_another_model_is_refused_naming_those_that_are_allowed(model: str) -> None:
    policy = Policy(PriceList({}), ("claude-sonnet-5-5", "claude-haiku-*"))
    with pytest.raises(GatewayError, match="only claude-sonnet-5-5, claude-haiku-") as caught:
        policy.examine(body(model=model))
    assert (caught.value.status, caught.value.kind) == (403, "permission_error")
