"""A server of the lab in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from lab.services.httpserver import Server
from services.client import Client


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
