"""A TCP relay on loopback that can hold back one message, so that a test acts at exactly that moment of a run.

The services on both sides are the real ones and know nothing of it.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum


class Side(Enum):
    """What is held: what matches itself, or the answer to it."""

    REQUEST = "the request that matches"
    ANSWER = "what is answered and matches"
    ANSWER_TO = "the answer to the request that matches"


class Held:
    """What is held, once `reached` is set."""

    def __init__(self, pattern: bytes, side: Side) -> None:
        self.pattern = re.compile(pattern, re.DOTALL)
        self.side = side
        self.reached = asyncio.Event()
        self.deliver = True
        self._released = asyncio.Event()

    @property
    def now(self) -> bool:
        """Whether something is held at this moment."""
        return self.reached.is_set() and not self._released.is_set()

    def release(self, *, deliver: bool = True) -> None:
        """Let it through; or lose it, with its connection. The first word counts."""
        if not self._released.is_set():
            self.deliver = deliver
        self._released.set()

    async def wait(self) -> None:
        """Be held. Raises `ConnectionError` when what is held is to be lost."""
        self.reached.set()
        await self._released.wait()
        if not self.deliver:
            raise ConnectionAbortedError


class Gate:
    """Relays to a port; `port` is its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._wanted: Held | None = None
        self._held: Held | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Its address, for what speaks HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def holding(self) -> bool:
        """Whether something is held here at this moment."""
        return self._held is not None and self._held.now

    def hold(self, pattern: bytes, side: Side) -> Held:
        """Hold the next message that matches (a regular expression), once."""
        self._wanted = Held(pattern, side)
        return self._wanted

    def forget(self) -> None:
        """Hold nothing (more)."""
        if self._held is not None:
            self._held.release()
        self._wanted = self._held = None

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        ends = [writer]
        try:
            upstream, target = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(target)
            link = _Link(self)
            pumps = [
                asyncio.create_task(link.ask(reader, target)),
                asyncio.create_task(link.answer(upstream, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()

    def matches(self, data: bytes, *sides: Side) -> Held | None:
        """What is to be held, if this is it; it is the only one then."""
        wanted = self._wanted
        if wanted is None or wanted.side not in sides or not wanted.pattern.search(data):
            return None
        self._held, self._wanted = wanted, None
        return wanted


class _Link:
    """One connection through a gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._answer: Held | None = None

    async def ask(self, reader: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """From the client to the service."""
        while data := await reader.read(65536):
            held = self._gate.matches(data, Side.REQUEST, Side.ANSWER_TO)
            if held is not None and held.side is Side.REQUEST:
                await held.wait()
            elif held is not None:
                self._answer = held
            target.write(data)
            await target.drain()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """From the service to the client."""
        while data := await reader.read(65536):
            held, self._answer = self._answer or self._gate.matches(data, Side.ANSWER), None
            if held is not None:
                await held.wait()
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def gate(target: int) -> AsyncIterator[Gate]:
    """A gate in front of a port."""
    made = Gate(target)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(made.relay(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
