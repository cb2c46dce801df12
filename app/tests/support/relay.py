"""Small relays on loopback for tests: TLS in front of a plain service, and an egress proxy that keeps a list."""

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, ssl.SSLError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    await _close(writer)


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, before: bytes = b""
) -> None:
    try:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
    except OSError:
        await _close(writer)
        return
    try:
        writer.write(before)
        await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))
    finally:
        writer.transport.abort()
        upstream_writer.transport.abort()


@contextmanager
def tls_front(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """TLS on a port of its own in front of a plain loopback port, in a thread; yields the port."""
    loop = asyncio.new_event_loop()
    found: list[int] = []
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _join(reader, writer, "127.0.0.1", port)

        async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server:
            found.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(10):  # the loop's rounds in which aborted transports come to their ends
                await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


class EgressProxy:
    """An HTTP proxy for CONNECT alone; `asked` lists the targets, `refused` those it turns away."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.url = ""
        self._tunnels: dict[asyncio.StreamWriter, str] = {}

    def cut(self, target: str) -> None:
        """Turn a target away from now on, and break the tunnels to it that are open."""
        self.refused.add(target)
        for writer, open_target in self._tunnels.items():
            if open_target == target:
                writer.transport.abort()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.asked.append(target)
        if method != "CONNECT" or target in self.refused:
            writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            await _close(writer)
            return
        host, _, port = target.rpartition(":")
        self._tunnels[writer] = target
        try:
            await _join(reader, writer, host, int(port), b"HTTP/1.1 200 Connection established\r\n\r\n")
        finally:
            del self._tunnels[writer]


@asynccontextmanager
async def egress_proxy() -> AsyncIterator[EgressProxy]:
    """A proxy, as squid is one on an agents host."""
    proxy = EgressProxy()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.handle(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
