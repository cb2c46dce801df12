"""Running a service: the event loop, signals, and HTTP servers that stop when they are told to.

A service is a coroutine that takes a `stop` event, set by SIGTERM or SIGINT. It may serve several applications (its
API and METRICS_PORT) in one loop: `serve` runs one and is cancelled or told to stop like any other task.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sdlc_agents.kernel.settings import TlsServerSettings

GRACEFUL_SECONDS = 8
GC_THRESHOLD = 10_000


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: a process with two servers has one place that hears signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _JoinedWrites:
    """A transport that joins what is written in one turn of the loop: an answer's head and body leave together.

    uvicorn writes them one by one, which is two system calls, two packets and, with TLS, two records.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


class _Protocol(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _JoinedWrites(transport)))


@asynccontextmanager
async def serve(
    app: Any,
    *,
    port: int,
    host: str = "0.0.0.0",  # noqa: S104 - a container's own network namespace; Compose says what is published
    tls: TlsServerSettings | None = None,
    graceful_seconds: int = GRACEFUL_SECONDS,
) -> AsyncIterator[int]:
    """Serve an ASGI application while the block runs; yields the port (useful when 0 asked for a free one).

    On leaving, open requests have `graceful_seconds` to finish. Raises `OSError` when the port is taken.
    """
    files: dict[str, Any] = {}
    if tls is not None and tls.tls_certificate_file is not None and tls.tls_private_key_file is not None:
        files = {"ssl_certfile": tls.tls_certificate_file, "ssl_keyfile": tls.tls_private_key_file}
    server = _Server(
        uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=graceful_seconds,
            **files,
        )
    )
    with socket.create_server((host, port), backlog=2048) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]), name=f"http-{port}")
        try:
            while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            if task.done():
                task.result()
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait({task})


def run_until_stopped(service: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a service on uvloop until it returns; SIGTERM and SIGINT set the event it is given.

    The cyclic garbage collector leaves alone what the imports made and looks less often: few requests make cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await service(stop)

    uvloop.run(main())
