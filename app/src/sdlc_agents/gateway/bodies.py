"""Requests' bodies: read within bounds, and let go of when they have gone out.

A body may be as large as the API takes, and an agent has many requests under way, so what all of them hold is bounded
as well.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect, Request

from sdlc_agents.gateway.errors import GatewayError

BODY_BYTES = 32 * 1024 * 1024
SMALL_BYTES = 1024 * 1024
_ROOM_BYTES = 64 * 1024 * 1024
_SECONDS_TO_READ = 60.0


class Room:
    """What the large bodies of all jobs together may hold. One job has half of it, for others have large ones too.

    The first `SMALL_BYTES` of each body need no room: an ordinary request always finds its place.
    """

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def take(self, job_id: str, size: int) -> None:
        """Raises `GatewayError` when there is not so much."""
        if self._held[job_id] + size > _ROOM_BYTES // 2:
            raise GatewayError(429, "the job has too many large requests under way", retry_after=2)
        if self._held.total() + size > _ROOM_BYTES:
            raise GatewayError(503, "too many large requests are under way", retry_after=2)
        self._held[job_id] += size

    def give_back(self, job_id: str, size: int) -> None:
        """What was taken is free again."""
        self._held[job_id] -= size
        if self._held[job_id] <= 0:
            del self._held[job_id]


class Body:
    """The body of a job's request, to be sent once, after which it is gone; `sent` says that all of it went out.

    Use it as a context manager, which gives its room back.
    """

    def __init__(self, room: Room, job_id: str) -> None:
        self.content = bytearray()
        self.size = 0
        self.sent = False
        self._room = room
        self._job_id = job_id
        self._taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    async def read(self, request: Request) -> None:
        """Read it. Raises `GatewayError` when it is too long, does not come, or has no room."""
        declared = request.headers.get("content-length", "")
        self._take(int(declared) if declared.isdecimal() else 0)
        try:
            async with asyncio.timeout(_SECONDS_TO_READ):
                async for chunk in request.stream():
                    self.size += len(chunk)
                    self._take(self.size)
                    self.content += chunk
        except ClientDisconnect as error:
            raise _incomplete() from error
        except TimeoutError as error:
            raise GatewayError(408, "the body did not come in time", retry_after=1) from error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """In pieces, each as the connection takes it: with TLS a large one would be held three times."""
        view = memoryview(self.content)
        for start in range(0, self.size, SMALL_BYTES):
            yield bytes(view[start : start + SMALL_BYTES])
        self.sent = True
        del view
        self._release()

    def _take(self, size: int) -> None:
        if size > BODY_BYTES:
            raise GatewayError(413, f"the request is larger than {BODY_BYTES} bytes")
        missing = size - SMALL_BYTES - self._taken
        if missing > 0:
            self._room.take(self._job_id, missing)
            self._taken += missing

    def _release(self) -> None:
        self.content = bytearray()
        if self._taken:
            self._room.give_back(self._job_id, self._taken)
            self._taken = 0


async def read(request: Request, limit: int) -> bytes:
    """A short body. Raises `GatewayError` when it is too long, or does not come."""
    content = bytearray()
    try:
        async for chunk in request.stream():
            content += chunk
            if len(content) > limit:
                raise GatewayError(413, f"the request is larger than {limit} bytes")
    except ClientDisconnect as error:
        raise _incomplete() from error
    return bytes(content)


def _incomplete() -> GatewayError:
    return GatewayError(400, "the body is incomplete")
