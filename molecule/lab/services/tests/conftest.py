"""A server of the lab in a thread of its own, and a client that shows what really came back."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from lab.services.documents import Json
from lab.services.https import Answer
from lab.services.httpserver import Server


@dataclass(frozen=True)
class Client:
    port: int

    def call(self, method: str, path: str, body: Json = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request; a body that is not bytes is sent as JSON."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


async def close(server: asyncio.Server) -> None:
    """Close a server that a test listens with itself."""
    server.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Thread:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    thread = Thread()
    yield thread.loop
    thread.close()


@pytest.fixture
def serve(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[[Server], Client]]:
    running: list[Server] = []

    def start(server: Server) -> Client:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        running.append(server)
        return Client(server.port)

    yield start
    for server in running:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
