"""The stand-in's addresses: `POST /v1/messages`, `/v1/messages/count_tokens`, `GET /v1/models`.

`GET /_lab/requests` lists what was asked lately, without credentials or content; `DELETE` empties it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict, deque
from typing import Any

from lab.services.claude import answer, conversation, scenarios, validation
from lab.services.claude.validation import ApiError
from lab.services.httpserver import Cut, Request, Response, Server

VERSION = "2023-06-01"
OAUTH_BETA = "oauth-2025-04-20"
BODY_LIMIT = 32 * 1024 * 1024
STAND_IN = "claude (scripted Messages API, no language model)"

_ERRORS = {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
_REMEMBERED = 1000


class Claude:
    """Answers requests that carry the one expected key."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha256(key.encode()).digest()
        self._failures: OrderedDict[str, int] = OrderedDict()
        self._seen: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    async def handle(self, request: Request) -> Response:
        """One request, as `httpserver.Handler`."""
        request_id = f"req_lab{secrets.token_hex(10)}"
        try:
            response = await self._route(request)
        except ApiError as error:
            response = Response.json(
                {
                    "type": "error",
                    "error": {"type": error.kind, "message": error.message},
                    "request_id": request_id,
                },
                error.status,
            )
            if error.retry_after is not None:
                response.headers["retry-after"] = str(error.retry_after)
            self._seen.append({"path": request.path, "status": error.status, "error": error.message})
        response.headers["request-id"] = request_id
        return response

    async def _route(self, request: Request) -> Response:
        match request.method, request.path:
            case "GET", "/_lab/requests":
                return Response.json({"requests": list(self._seen)})
            case "DELETE", "/_lab/requests":
                self._seen.clear()
                return Response(204)
            case "GET" | "HEAD", "/":
                return Response.json({"stand_in": STAND_IN})
            case "GET", "/v1/models":
                self._authenticate(request)
                return Response.json(_models())
            case "POST", "/v1/messages":
                return await self._message(self._body(request), _betas(request))
            case "POST", "/v1/messages/count_tokens":
                body = self._body(request)
                validation.check(body, betas=_betas(request), counting=True)
                tokens = answer.count(conversation.read(body))
                self._seen.append({"path": request.path, "status": 200, "model": body["model"]})
                return Response.json({"input_tokens": tokens})
        raise ApiError(404, "not_found_error", "Not found")

    def _authenticate(self, request: Request) -> None:
        version = request.headers.get("anthropic-version")
        if version is None:
            raise ApiError(400, "invalid_request_error", "anthropic-version: header is required")
        if version != VERSION:
            raise ApiError(400, "invalid_request_error", f"anthropic-version: {version!r} is not known")
        key, bearer = request.headers.get("x-api-key"), request.headers.get("authorization")
        if key is not None and bearer is not None:
            raise ApiError(401, "authentication_error", "x-api-key and authorization are both given")
        if bearer is not None:
            scheme, _, key = bearer.partition(" ")
            if scheme != "Bearer":
                raise ApiError(401, "authentication_error", "authorization must be a bearer token")
            if OAUTH_BETA not in _betas(request):
                message = f"a bearer token needs anthropic-beta: {OAUTH_BETA}"
                raise ApiError(401, "authentication_error", message)
        if not key:
            raise ApiError(401, "authentication_error", "x-api-key header is required")
        if not hmac.compare_digest(hashlib.sha256(key.encode()).digest(), self._key):
            raise ApiError(401, "authentication_error", "invalid x-api-key")

    def _body(self, request: Request) -> dict[str, Any]:
        self._authenticate(request)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise ApiError(400, "invalid_request_error", "content-type must be application/json")
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise ApiError(400, "invalid_request_error", "the body is not valid JSON") from error
        if not isinstance(body, dict):
            raise ApiError(400, "invalid_request_error", "the body must be a JSON object")
        return body

    async def _message(self, body: dict[str, Any], betas: list[str]) -> Response:
        validation.check(body, betas=betas)
        talk = conversation.read(body)
        marker = talk.marker
        try:
            turn = scenarios.play(talk)
            if talk.tools and marker.name == "error":
                self._fail(talk)
            message = answer.Answer(body["model"], turn, answer.usage(talk, turn))
            delay = marker.number("seconds", 5) if talk.tools and marker.name == "slow" else 0
        except ValueError as error:
            raise ApiError(400, "invalid_request_error", f"lab: {error}") from error
        self._seen.append(
            {
                "path": "/v1/messages",
                "status": 200,
                "model": body["model"],
                "stream": body.get("stream", False),
                "script": marker.name,
                "step": len(talk.steps),
                "tools": sorted(talk.tools),
            }
        )
        cut = bool(talk.tools) and marker.name == "cut"
        if not body.get("stream", False):
            await asyncio.sleep(delay)
            if cut:
                raise Cut
            return Response.json(message.document())
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        return Response(200, message.stream(delay=delay, cut=cut), headers)

    def _fail(self, talk: conversation.Conversation) -> None:
        """Raise the error that the marker asks for, as often as it asks for it."""
        marker = talk.marker
        status = marker.number("status", 529)
        if status not in _ERRORS:
            raise ValueError(f"status must be one of {sorted(_ERRORS)}")
        done = self._failures.get(talk.identity, 0)
        if "times" in marker.settings and done >= marker.number("times", 0):
            return
        self._failures[talk.identity] = done + 1
        self._failures.move_to_end(talk.identity)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        message = f"the ticket asked the lab for status {status}"
        raise ApiError(status, _ERRORS[status], message, marker.number("retry-after", 1))


def _betas(request: Request) -> list[str]:
    return [beta.strip() for beta in request.headers.get("anthropic-beta", "").split(",")]


def _models() -> dict[str, Any]:
    data = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        for name in validation.MODELS
    ]
    return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}


def build(key: str, *, host: str = "127.0.0.1", port: int = 0) -> Server:
    """A server that accepts `key` alone: `async with build(key) as server: … server.port`."""
    if not key:
        raise ValueError("the stand-in needs a key to expect")
    return Server(Claude(key).handle, stand_in=STAND_IN, host=host, port=port, body_limit=BODY_LIMIT)
