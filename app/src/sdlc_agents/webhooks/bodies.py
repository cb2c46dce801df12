"""Reading requests' bodies, with bounds on each and on all of them together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from sdlc_agents.kernel.errors import InvalidRequestError, PayloadTooLargeError, ServiceError, UnavailableError

MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 10.0
MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of all requests that are being read or wait to be stored."""


class RequestTimeoutError(ServiceError):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"


class BodyReader:
    """Reads bodies and counts what is in memory of all of them."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The raw body, which counts as held until the block is left.

        Raises 413 past `MAX_BODY_BYTES`, 408 past `BODY_SECONDS`, 400 when the client went away, and 503 when
        `MAX_HELD_BYTES` are held already.
        """
        held = 0
        parts: list[bytes] = []
        _check_size(_declared(request))
        try:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    more = True
                    while more:
                        message = await request.receive()
                        if message["type"] == "http.disconnect":
                            raise InvalidRequestError("the body is incomplete")
                        part = message.get("body", b"")
                        more = message.get("more_body", False)
                        held += len(part)
                        self._held += len(part)
                        _check_size(held)
                        if self._held > MAX_HELD_BYTES:
                            raise UnavailableError("too many deliveries are waiting", retry_after=2)
                        parts.append(part)
            except TimeoutError as error:
                raise RequestTimeoutError(f"the body did not arrive within {BODY_SECONDS:g} seconds") from error
            yield b"".join(parts)
        finally:
            self._held -= held


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else 0  # noqa: PLR2004


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
