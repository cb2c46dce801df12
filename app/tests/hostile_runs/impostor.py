"""A stand-in for a runner that is in an attacker's hands: it speaks HTTP, and answers whatever the test wants.

The real one cannot be made to lie; the consumer has to bear a runner that does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from sdlc_agents.kernel.clock import now
from support.repositories import git

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
IDLE = b'{"state": "idle"}'


@dataclass
class Impostor:
    """What it answers: its state, the job's events, the result, the order to stop."""

    state: Answer = field(init=False)
    events: Answer = field(init=False)
    result: Answer = field(init=False)
    stop: Answer = field(init=False)
    url: str = ""
    job: dict[str, object] = field(default_factory=dict)
    bundle: bytes = b""
    prepare: Callable[["Impostor"], None] = lambda _: None

    def behave(self) -> None:
        """From now on, be a good runner whose agent changed nothing."""
        self.state, self.events = says(IDLE), says(finished(changed=False))
        self.result = self.stop = says(status="204 No Content")
        self.prepare = lambda _: None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path = lines[0].split(" ")[:2]
            if method == "POST":
                self._take(body)
                self.prepare(self)
            answers = {"POST": self.events, "DELETE": self.stop}
            await answers.get(method, self.result if path.endswith("/bundle") else self.state)(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _take(self, body: bytes) -> None:
        boundary = body.split(b"\r\n", 1)[0]
        for part in body.split(boundary)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            if b'name="job"' in head:
                self.job = orjson.loads(content.removesuffix(b"\r\n"))
            elif b'name="bundle"' in head:
                self.bundle = content.removesuffix(b"\r\n")

    def unpack(self, directory: Path) -> Path:
        """The job's repository, its branch checked out."""
        directory.mkdir()
        (directory.parent / "given.bundle").write_bytes(self.bundle)
        git(directory, "init", "--quiet")
        git(directory, "fetch", "--quiet", "../given.bundle", "refs/heads/*:refs/remotes/origin/*")
        git(directory, "checkout", "--quiet", "-b", str(self.job["branch"]), str(self.job["start_commit"]))
        return directory


def says(*content: bytes, status: str = "200 OK") -> Answer:
    """An ordinary answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        body = b"".join(content)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


def repeats(content: bytes, *, first: bytes = b"", every: float = 0.0, status: str = "200 OK") -> Answer:
    """An answer without an end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode() + first)
        while True:
            writer.write(content)
            await writer.drain()
            await asyncio.sleep(every)

    return answer


def event(kind: str, **fields: object) -> bytes:
    """A line of the protocol."""
    return orjson.dumps({"type": kind, "at": now(), **fields}, option=orjson.OPT_UTC_Z) + b"\n"


def finished(**fields: object) -> bytes:
    """The last line of a job that went well."""
    return event("finished", **{"text": "Done.", "turns": 3, "duration_seconds": 1.0, "changed": True, **fields})


@asynccontextmanager
async def impostor(**answers: Answer) -> AsyncIterator[Impostor]:
    """A runner on loopback that answers so, and otherwise as a good one that changed nothing."""
    made = Impostor()
    made.behave()
    for name, answer in answers.items():
        setattr(made, name, answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=2**20)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 1)
