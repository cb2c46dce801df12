"""A small strict HTTP/1.1 server on asyncio, for the stand-ins: no package to install in any test.

It knows what they need: bodies with a length or chunked (RFC 9112), gzip bodies, `Expect:
100-continue`, keep-alive and streamed answers. It refuses what is ambiguous (two lengths, length and
chunked) and what is too large.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

from lab.services.documents import Json

logger = logging.getLogger("lab")

HEADER_LIMIT = 64 * 1024
IDLE_SECONDS = 75.0

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case, the body is whole and decompressed."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Response:
    """One answer. A streamed body is sent chunked; if its iterator raises, the connection is cut."""

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, document: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON answer."""
        return cls(
            status,
            json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
            {"content-type": "application/json", **(headers or {})},
        )


Handler = Callable[[Request], Awaitable[Response]]


class BadRequestError(Exception):
    """What the client sent is no HTTP request that this server takes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Cut(Exception):  # noqa: N818 - not an error: a scenario asks for it
    """Raised by a handler or a streamed body to end the connection without an answer, or in its middle."""


def _gunzip(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise BadRequestError(400, "the body is not gzip") from error
    if len(plain) > limit:
        raise BadRequestError(413, "the body is too large")
    if not inflater.eof or inflater.unused_data:
        raise BadRequestError(400, "the gzip body is cut short or has something behind it")
    return plain


async def _read_chunked(reader: asyncio.StreamReader, limit: int) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        line = (await reader.readline()).split(b";", 1)[0].strip()
        try:
            size = int(line, 16)
        except ValueError as error:
            raise BadRequestError(400, "a chunk has no size") from error
        if size == 0:
            while (await reader.readline()).strip():
                pass
            return b"".join(parts)
        total += size
        if total > limit:
            raise BadRequestError(413, "the body is too large")
        parts.append(await reader.readexactly(size))
        if await reader.readexactly(2) != b"\r\n":
            raise BadRequestError(400, "a chunk does not end where it says")


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise BadRequestError(400, "no HTTP/1.1 request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        if not line:
            continue
        name, colon, value = line.partition(":")
        key = name.lower()
        if not colon or not name or name != name.strip():
            raise BadRequestError(400, "a header line has no name")
        if key in headers and key in {"content-length", "transfer-encoding", "host", "authorization"}:
            raise BadRequestError(400, f"{key} is given twice")
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return parts[0], parts[1], headers


async def _read_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Mapping[str, str], limit: int
) -> bytes:
    chunked = "transfer-encoding" in headers
    if chunked and "content-length" in headers:
        raise BadRequestError(400, "both a length and a transfer encoding")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    if chunked:
        if headers["transfer-encoding"].lower() != "chunked":
            raise BadRequestError(501, "only chunked is known")
        body = await _read_chunked(reader, limit)
    else:
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise BadRequestError(400, "content-length is no number")
        if int(length) > limit:
            raise BadRequestError(413, "the body is too large")
        body = await reader.readexactly(int(length))
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding == "gzip":
        return _gunzip(body, limit)
    if encoding != "identity":
        raise BadRequestError(415, "the content encoding is not known")
    return body


async def _send(
    writer: asyncio.StreamWriter,
    response: Response,
    *,
    stand_in: str,
    close: bool,
    head_only: bool = False,
) -> None:
    reason = _REASONS.get(response.status, "Unknown")
    headers = {"x-lab-stand-in": stand_in, **response.headers}
    if isinstance(response.body, bytes):
        headers["content-length"] = str(len(response.body))
    else:
        headers["transfer-encoding"] = "chunked"
    if close:
        headers["connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"HTTP/1.1 {response.status} {reason}\r\n{head}\r\n".encode("latin-1"))
    if head_only:
        pass
    elif isinstance(response.body, bytes):
        writer.write(response.body)
    else:
        async for part in response.body:
            if part:
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
    await writer.drain()


class Server:
    """Serves one handler. `async with Server(...) as server:` listens; `server.port` is the real port."""

    def __init__(
        self, handler: Handler, *, stand_in: str, host: str = "127.0.0.1", port: int = 0, body_limit: int
    ) -> None:
        self._handler = handler
        self._stand_in = stand_in
        self._host = host
        self.port = port
        self._body_limit = body_limit
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._connected, self._host, self.port, limit=HEADER_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, Cut):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; whether the connection stays open."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)
            method, target, headers = _parse_head(head[:-4])
            body = await _read_body(reader, writer, headers, self._body_limit)
        except asyncio.LimitOverrunError:
            error = BadRequestError(431, "the headers are too large")
            await _send(writer, _refusal(error), stand_in=self._stand_in, close=True)
            return False
        except BadRequestError as error:
            await _send(writer, _refusal(error), stand_in=self._stand_in, close=True)
            return False
        parts = urlsplit(target)
        request = Request(method, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True), headers, body)
        try:
            response = await self._handler(request)
        except Cut:
            return False
        except Exception:
            logger.exception("%s: %s %s failed", self._stand_in, method, parts.path)
            response = Response.json({"error": "the stand-in itself failed, see its log"}, 500)
        logger.info("%s %s %s", method, parts.path, response.status)
        close = headers.get("connection", "").lower() == "close"
        await _send(writer, response, stand_in=self._stand_in, close=close, head_only=method == "HEAD")
        return not close


def _refusal(error: BadRequestError) -> Response:
    return Response.json({"error": error.message}, error.status)


async def run(server: Server) -> None:
    """Serve until SIGTERM or SIGINT. The first line on standard output is the address."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        print(f"listening on http://127.0.0.1:{server.port}", flush=True)
        await stop.wait()
