"""A TCP relay on loopback that a test can cut, freeze and mend: an outage without stopping the real service."""

import asyncio
import gc
import warnings
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from support.processes import free_port


class CuttableProxy:
    """Relays to the host and port of a URL; `url` is that URL with the relay's address in it."""

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        assert parts.hostname is not None
        self._host = parts.hostname
        self._port = parts.port or {"amqps": 5671, "amqp": 5672}.get(parts.scheme, 27017)
        self._target_url = target_url
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._answering = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        """The URL to use instead of the target's."""
        parts = urlsplit(self._target_url)
        userinfo, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{userinfo}{at}127.0.0.1:{self.port}").geturl()

    async def mend(self) -> None:
        """Let connections through (again)."""
        self.thaw()
        self.port = self.port or free_port()  # which nobody is given while this is cut
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    def freeze(self) -> None:
        """Keep connections and take new ones, but let nothing through."""
        self._flowing.clear()

    def hold_answers(self) -> None:
        """Let through what the client says, but nothing that the service answers."""
        self._answering.clear()

    def thaw(self) -> None:
        """Let through what waits."""
        self._flowing.set()
        self._answering.set()

    async def cut(self) -> None:
        """Break all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()
        # Drivers leave sockets half open when a relay is cut under them; collect those here, not in another test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        target: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                upstream, target = await asyncio.open_connection(self._host, self._port)
                asking, answering = (self._flowing,), (self._flowing, self._answering)
                await _both(_pump(reader, target, asking), _pump(upstream, writer, answering))
        finally:
            self._tasks.discard(task)
            for end in (writer, target):
                if end is not None:
                    end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_when: Sequence[asyncio.Event]) -> None:
    while data := await reader.read(65536):
        for event in open_when:
            await event.wait()
        writer.write(data)
        await writer.drain()


async def _both(*pumps: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
