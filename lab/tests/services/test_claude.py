from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from lab.services.claude import server
from lab.services.https import Answer
from lab.services.httpserver import Server
from services.client import Client

KEY = "sk-ant-lab-test"
HEADERS = {"anthropic-version": "2023-06-01", "x-api-key": KEY}
TOOLS = [
    {"name": name, "description": name, "input_schema": {"type": "object", "properties": {}}}
    for name in ("Bash", "Read", "Edit", "Write")
]


@pytest.fixture
def client(serve: Callable[[Server], Client]) -> Client:
    return serve(server.build(KEY))


def body(prompt: str = "hello", **changes: Any) -> dict[str, Any]:
    request = {
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": prompt}],
        "tools": TOOLS,
        **changes,
    }
    return {name: value for name, value in request.items() if value is not None}


def post(client: Client, request: Any, headers: Mapping[str, str] = HEADERS) -> Answer:
    return client.call("POST", "/v1/messages", request, headers)


def events(answer: Answer) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for event in answer.body.decode().strip().split("\n\n"):
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_the_stream_has_the_documented_events_in_order(client: Client) -> None:
    answer = post(client, body("[[lab:endless]]", stream=True))
    found = events(answer)
    names = [name for name, _ in found if name != "content_block_delta"]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert names == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_stop",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert all(data["type"] == name for name, data in found)


def test_the_streamed_deltas_add_up_to_the_message(client: Client) -> None:
    prompt = "[[lab:bash]]\n```sh\n" + "echo something rather long; " * 10 + "\n```"
    whole = post(client, body(prompt)).json()
    text, arguments, usage = "", "", {}
    for name, data in events(post(client, body(prompt, stream=True))):
        if name == "content_block_delta" and data["delta"]["type"] == "text_delta":
            text += data["delta"]["text"]
        elif name == "content_block_delta":
            arguments += data["delta"]["partial_json"]
        elif name == "message_delta":
            usage = data["usage"]
            assert data["delta"]["stop_reason"] == whole["stop_reason"] == "tool_use"
    assert text == whole["content"][0]["text"]
    assert json.loads(arguments) == whole["content"][1]["input"]
    assert usage == whole["usage"]


def test_a_request_without_tools_takes_no_step_of_the_script(client: Client) -> None:
    answer = post(client, body("[[lab:endless]]", tools=None)).json()
    assert answer["stop_reason"] == "end_turn"
    assert [block["type"] for block in answer["content"]] == ["text"]


def test_a_tool_that_is_not_on_offer_is_not_used(client: Client) -> None:
    assert post(client, body("[[lab:endless]]", tools=TOOLS[1:])).json()["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    "headers",
    [
        {"anthropic-version": "2023-06-01"},
        {"anthropic-version": "2023-06-01", "x-api-key": KEY + "x"},
        {"anthropic-version": "2023-06-01", "x-api-key": ""},
        {"anthropic-version": "2023-06-01", "authorization": f"Bearer {KEY}"},
        {"anthropic-version": "2023-06-01", "authorization": f"Basic {KEY}"},
        {**HEADERS, "authorization": f"Bearer {KEY}"},
    ],
)
def test_any_but_the_expected_credential_is_refused(client: Client, headers: dict[str, str]) -> None:
    answer = post(client, body(), headers)
    assert answer.status == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["request-id"] == answer.json()["request_id"]


def test_a_session_token_is_taken_with_its_beta_header(client: Client) -> None:
    headers = {
        "anthropic-version": "2023-06-01",
        "authorization": f"Bearer {KEY}",
        "anthropic-beta": "claude-code-20250219, oauth-2025-04-20",
    }
    assert post(client, body(), headers).status == 200


def test_the_version_header_is_required_and_known(client: Client) -> None:
    assert post(client, body(), {"x-api-key": KEY}).status == 400
    assert post(client, body(), {**HEADERS, "anthropic-version": "2099-01-01"}).status == 400


def test_an_unknown_model_is_not_found(client: Client) -> None:
    answer = post(client, body(model="claude-imaginary-1"))
    assert (answer.status, answer.json()["error"]["type"]) == (404, "not_found_error")


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}
START = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": 2}, "temperature"),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"metadata": {"user": "x"}}, "metadata.user"),
        ({"system": [{"type": "text", "text": ""}]}, "non-empty"),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "budget_tokens"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "unique"),
        ({"tools": [{**TOOLS[0], "name": "a b"}]}, "name"),
        ({"tools": [{**TOOLS[0], "input_schema": {}}]}, "input_schema"),
        ({"tool_choice": {"type": "tool", "name": "Other"}}, "tool_choice.name"),
        ({"messages": []}, "at least one"),
        ({"messages": [CALL]}, "first message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
        ({"messages": [{"role": "user", "content": [CALL["content"][0]]}]}, "not allowed"),
        ({"messages": [START, {"role": "assistant", "content": "x"}]}, "last message"),
        ({"messages": [START, CALL, START]}, "without `tool_result`"),
        ({"messages": [START, RESULT]}, "unexpected `tool_use_id`"),
        ({"messages": [START, {"role": "system", "content": "x"}, START]}, "role"),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused(client: Client, changes: dict[str, Any], told: str) -> None:
    answer = post(client, body(**changes))
    assert answer.status == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert told in answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"'])
def test_a_body_that_is_no_json_object_is_refused(client: Client, content: bytes) -> None:
    assert post(client, content, {**HEADERS, "content-type": "application/json"}).status == 400


def test_a_body_of_another_type_is_refused(client: Client) -> None:
    assert post(client, body(), {**HEADERS, "content-type": "text/plain"}).status == 400


def test_tokens_are_counted_without_max_tokens(client: Client) -> None:
    request = body(max_tokens=None)
    short = client.call("POST", "/v1/messages/count_tokens", request, HEADERS).json()["input_tokens"]
    long = body("hello " * 1000, max_tokens=None)
    assert client.call("POST", "/v1/messages/count_tokens", long, HEADERS).json()["input_tokens"] > short + 1000
    assert client.call("POST", "/v1/messages/count_tokens", body(), HEADERS).status == 400


def test_a_ticket_can_ask_for_errors_that_pass(client: Client) -> None:
    request = body("[[lab:error status=529 times=2 retry-after=3]]")
    first = post(client, request)
    assert (first.status, first.headers["retry-after"]) == (529, "3")
    assert first.json()["error"]["type"] == "overloaded_error"
    assert [post(client, request).status for _ in range(2)] == [529, 200]
    assert post(client, body("another [[lab:error status=429]]")).json()["error"]["type"] == "rate_limit_error"


def test_errors_are_counted_for_each_conversation(client: Client) -> None:
    for name in ("first", "second"):
        request = body(f"{name} [[lab:error times=1]]")
        assert [post(client, request).status for _ in range(2)] == [529, 200]


@pytest.mark.parametrize("marker", ["[[lab:nope]]", "[[lab:error status=418]]", "[[lab:big mib=many]]", "[[lab:bash]]"])
def test_a_marker_that_makes_no_sense_is_told(client: Client, marker: str) -> None:
    answer = post(client, body(marker))
    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith("lab: ")


@pytest.mark.parametrize("stream", [True, False])
def test_a_cut_answer_never_ends(client: Client, *, stream: bool) -> None:
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)):
        post(client, body("[[lab:cut]]", stream=stream))


def test_a_slow_answer_starts_with_pings(client: Client) -> None:
    found = events(post(client, body("[[lab:slow seconds=1]]", stream=True)))
    assert [name for name, _ in found[1:3]] == ["ping", "ping"]
    assert found[-1][0] == "message_stop"


def test_a_ticket_can_say_what_an_answer_costs(client: Client) -> None:
    usage = post(client, body("[[lab:nothing input-tokens=7 output-tokens=9000]]")).json()["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 9000)


def test_the_list_of_requests_holds_neither_key_nor_content(client: Client) -> None:
    post(client, body("a secret ticket"))
    listed = client.call("GET", "/_lab/requests")
    assert listed.json()["requests"][0]["script"] == "default"
    assert b"secret ticket" not in listed.body
    assert KEY.encode() not in listed.body
