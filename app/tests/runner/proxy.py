"""A proxy that notes what it is asked and by whom, and whose tunnels lead back to where they came from."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """One request: its first line, the other lines, the user and password that it came with."""

    line: str
    headers: tuple[str, ...]
    user: str


@dataclass
class RecordingProxy:
    """What it was asked, oldest first. A tunnel echoes; any other request is answered with 204."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n")
            line, *headers = head.split("\r\n")
            (given,) = [text.partition(" ")[2] for text in headers if text.startswith("Proxy-Authorization: ")]
            kind, _, encoded = given.partition(" ")
            assert kind == "Basic"
            self.asked.append(Asked(line, tuple(headers), base64.b64decode(encoded).decode()))
            if line.startswith("CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                while chunk := await reader.read(65536):
                    writer.write(chunk)
                    await writer.drain()
            else:
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                await writer.drain()
        writer.close()


@asynccontextmanager
async def recording_proxy() -> AsyncIterator[RecordingProxy]:
    """One on loopback."""
    proxy = RecordingProxy()
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
