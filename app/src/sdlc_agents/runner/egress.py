"""A job's way to the egress proxy: a relay on the runner's loopback that adds the job's credentials.

Not every tool can log in at a proxy: npm of Debian 13 loses the credentials of the proxy's address, Java offers none
for HTTPS unless told to. And what a tool does not know it cannot show. So tools get an address without credentials,
good in their own container alone and for as long as their job.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import structlog

_HEAD_BYTES = 64 * 1024
_HEAD_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 64 * 1024
_MOST_CONNECTIONS = 200
_NOT_PASSED_ON = {b"proxy-authorization", b"proxy-connection", b"connection", b"keep-alive"}

log = structlog.get_logger()


@asynccontextmanager
async def egress_relay(proxy: str | None, job_id: str, token: str | None) -> AsyncIterator[str | None]:
    """The proxy's address for a job's tools: a relay's while the block lasts, or `proxy` as it is without a token.

    Args:
        proxy: The egress proxy, `http://host:port`.
        token: The job's egress token, None where its project reaches nothing.
    """
    if proxy is None or token is None:
        yield proxy
        return
    relay = _Relay(proxy, f"{job_id}:{token}")
    server = await asyncio.start_server(relay.serve, "127.0.0.1", 0, limit=_HEAD_BYTES)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await relay.close()


class _Relay:
    def __init__(self, proxy: str, credentials: str) -> None:
        address = urlsplit(proxy)
        self._host, self._port = address.hostname or "", address.port or 80
        self._authorization = b"Proxy-Authorization: Basic " + base64.b64encode(credentials.encode())
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a tool's."""
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                await self._join(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def close(self) -> None:
        """Break off what is under way."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = self._authorized(await reader.readuntil(b"\r\n\r\n"))
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                upstream = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            log.warning("egress_proxy_away", error=type(error).__name__)
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        from_proxy, to_proxy = upstream
        try:
            to_proxy.write(head)
            await asyncio.gather(_pump(reader, to_proxy), _pump(from_proxy, writer))
        finally:
            to_proxy.transport.abort()

    def _authorized(self, head: bytes) -> bytes:
        """The request with the job's credentials; for anything but a tunnel, the connection ends with its answer."""
        request, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        tunnel = request.upper().startswith(b"CONNECT ")
        kept = [line for line in headers if line.partition(b":")[0].strip().lower() not in _NOT_PASSED_ON]
        closing = [] if tunnel else [b"Connection: close"]
        return b"\r\n".join([request, *kept, self._authorization, *closing]) + b"\r\n\r\n"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, until it ends; where it breaks off, the way back does too."""
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):  # the latter is uvloop's for a transport that is closed
        writer.transport.abort()
