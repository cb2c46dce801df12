"""The emulator with what it lacks: authentication, and refusal of bodies that are not JSON.

It serves project SHOP with the statuses To Do, In Development, In Review and Done, and no issue.
"""

from __future__ import annotations

import hmac
import importlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

STAND_IN = "jira (jira820, an emulator of Jira Data Center 8.20)"
PROJECT = "SHOP"
STATUSES = (
    ("To Do", "todo", "10000"),
    ("In Development", "inprogress", "10001"),
    ("In Review", "inprogress", "10002"),
    ("Done", "done", "10003"),
)
BODY_LIMIT = 1024 * 1024


class Guard:
    """ASGI middleware: `Authorization: Bearer TOKEN` (a personal access token) and JSON bodies only."""

    def __init__(self, application: Application, token: str) -> None:
        self._application = application
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection, as ASGI says."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-lab-stand-in", STAND_IN.encode())]
            await send(message)

        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            await _refuse(marked, 401, "Client must be authenticated to access this resource.")
            return
        body = await _read(receive)
        if body is None:
            await _refuse(marked, 413, "The request is too large.")
            return
        problem = _problem(body, headers.get(b"content-type", b"").decode("latin-1"))
        if problem:
            await _refuse(marked, *problem)
            return

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._application(scope, replay, marked)


def _problem(body: bytes, content_type: str) -> tuple[int, str] | None:
    kind = content_type.partition(";")[0].strip()
    if not body or kind == "multipart/form-data":
        return None
    if kind != "application/json":
        return 415, f"Content-Type {kind!r} is not application/json."
    try:
        document = json.loads(body)
    except ValueError:
        return 400, "The body is not JSON."
    return None if isinstance(document, dict) else (400, "The body is not a JSON object.")


async def _read(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_LIMIT:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"errorMessages": [reason], "errors": {}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def build(token: str) -> Application:
    """The guarded emulator, as an ASGI application."""
    emulator = importlib.import_module("jira820")
    config = importlib.import_module("jira820.config").Config(
        project_key=PROJECT,
        project_name="Shop",
        statuses=[list(status) for status in STATUSES],
        modules=["shop"],
        components_extra=[],
        current_user="sdlc-agents",
    )
    store = importlib.import_module("jira820.store").Store(config, seed=False)
    return Guard(emulator.make_app(store=store), token)
