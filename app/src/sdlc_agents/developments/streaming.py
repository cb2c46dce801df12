"""A transcript as it grows, by server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html

A stream asks the database again and again: that takes no right beyond reading, and a consumer stores events every
quarter of a second anyway. It ends after a while, as its key may have been revoked; whoever reads it comes back with
`Last-Event-ID` and misses nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import orjson
import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sdlc_agents.developments.model import ENDED
from sdlc_agents.developments.repository import DevelopmentRepository
from sdlc_agents.developments.schemas import TranscriptEventOutput
from sdlc_agents.kernel.errors import UnavailableError

MAX_STREAMS = 100
_LOOK_SECONDS = 0.4
_HEARTBEAT_SECONDS = 10.0
_LONGEST_SECONDS = 900.0
_RETRY_AFTER = 10
_EVENTS = 200

log = structlog.get_logger()


class TranscriptStreams:
    """The streams of this process: no more than `limit` at a time, and all of them end with `close`."""

    def __init__(self, limit: int = MAX_STREAMS) -> None:
        self._limit = limit
        self._closing = asyncio.Event()
        self.open = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Room for one stream; raises `UnavailableError` when there is none."""
        if self.open >= self._limit or self._closing.is_set():
            raise UnavailableError(
                f"there are {self.open} open streams, and no room for another: read the transcript page by page, or "
                "come back later",
                retry_after=_RETRY_AFTER,
            )
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def close(self) -> None:
        """End all of them: the service stops."""
        self._closing.set()

    async def frames(
        self, repository: DevelopmentRepository, development_id: str, after: str | None
    ) -> AsyncIterator[bytes]:
        """A development's events after that one, as they come, until it has ended and all are told."""
        clock = asyncio.get_running_loop().time
        began = told = clock()
        yield b"retry: 2000\n\n"
        while not self._closing.is_set() and clock() - began < _LONGEST_SECONDS:
            with suppress(UnavailableError):
                # In this order: what ended stores no events any more.
                status = await repository.status(development_id)
                page = await repository.transcript(development_id, _EVENTS, after)
                for event in page.items:
                    yield _frame(event)
                    after, told = event.id, clock()
                if page.next_cursor is not None:
                    continue
                if status in ENDED:
                    yield b"event: end\ndata: " + orjson.dumps({"status": status}) + b"\n\n"
                    return
            if clock() - told >= _HEARTBEAT_SECONDS:
                yield b": still here\n\n"
                told = clock()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _LOOK_SECONDS)


class EventStream(StreamingResponse):
    """The answer: `frames`, while there is room for it."""

    media_type = "text/event-stream"

    def __init__(self, streams: TranscriptStreams, frames: AsyncIterator[bytes]) -> None:
        # Without a charset, which the format does not have; and no proxy may hold it back.
        headers = {"Content-Type": self.media_type, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(frames, headers=headers)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        with self._streams.one():
            await super().__call__(scope, receive, send)


def _frame(event: TranscriptEventOutput) -> bytes:
    data = orjson.dumps(event.model_dump(mode="json"))
    return b"id: " + event.id.encode() + b"\ndata: " + data + b"\n\n"
