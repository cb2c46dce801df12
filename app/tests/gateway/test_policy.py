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
    by_id = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    nested = {"type": "tool_result", "tool_use_id": "x", "content": [image]}
    document = {"type": "document", "source": {"type": "content", "content": [image]}}
    unknown = {"type": "new", "parts": {"first": document}}
    for content in ([image], [by_id], [nested], [document], [{**nested, "content": [document]}], [unknown]):
        with pytest.raises(GatewayError, match="send it inline"):
            POLICY.examine(body(messages=[{"role": "user", "content": content}]))
        with pytest.raises(GatewayError, match="send it inline"):
            POLICY.examine(body(system=content))


def test_inline_content_may_pass() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    document = {"type": "document", "source": {"type": "content", "content": [image, {"type": "text", "text": "x"}]}}
    assert POLICY.examine(body(messages=[{"role": "user", "content": [image, document]}])).model == MODEL


def test_what_a_tool_is_called_with_is_no_content() -> None:
    call = {"type": "tool_use", "id": "x", "name": "Fetch", "input": {"source": {"type": "url", "url": "https://x"}}}
    assert POLICY.examine(body(messages=[{"role": "assistant", "content": [call]}])).model == MODEL


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fallbacks", [{"model": "claude-opus-5"}]),
        ("speed", "fast"),
        ("inference_geo", "us"),
        ("service_tier", "priority"),
        ("service_tier", ["auto"]),
        ("context_management", {"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}),
    ],
)
def test_options_with_a_price_or_a_model_of_their_own_may_not(field: str, value: Any) -> None:
    with pytest.raises(GatewayError, match=f"`{field}`.*cannot be counted") as caught:
        POLICY.examine(body(**{field: value}))
    assert caught.value.status == 403


def test_what_claude_code_asks_for_may_pass() -> None:
    edits = [{"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 3}}]
    edits.append({"type": "clear_thinking_20251015", "keep": "all"})
    POLICY.examine(
        body(
            max_tokens=32_000,
            stream=True,
            system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
            context_management={"edits": edits},
            thinking={"type": "enabled", "budget_tokens": 1024},
            metadata={"user_id": "x"},
            output_config={"effort": "high"},
            tool_choice={"type": "auto"},
            temperature=1,
            stop_sequences=["x"],
        )
    )


@pytest.mark.parametrize(
    "options",
    [
        {"service_tier": "auto"},
        {"service_tier": "standard_only", "speed": "standard", "inference_geo": "global", "fallbacks": []},
        dict.fromkeys(("inference_geo", "speed", "service_tier", "fallbacks", "context_management")),
    ],
)
def test_options_at_the_models_price_may_pass(options: dict[str, Any]) -> None:
    assert POLICY.examine(body(**options)).model == MODEL


def test_a_model_without_a_price_may_not() -> None:
    with pytest.raises(GatewayError, match="LLM_GATEWAY_PRICES"):
        POLICY.examine(body(model="unheard-of"))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"model": 1}'])
def test_what_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        POLICY.examine(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("part", [b"{},", b'{"a":1},', b"1,", b"[],"])
def test_a_body_of_too_many_parts_is_refused_before_it_is_read(part: bytes) -> None:
    with pytest.raises(GatewayError, match="of more than 600000 parts") as caught:
        POLICY.examine(b'{"model":"claude-sonnet-5-5","messages":[' + part * 700_000 + b"{}]}")
    assert caught.value.status == 413


def test_a_body_with_a_whole_context_of_text_may_pass() -> None:
    text = "a, b = {c: [1, 2, 3]}; " * 100_000
    assert POLICY.examine(body(messages=[{"role": "user", "content": text}])).model == MODEL


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
