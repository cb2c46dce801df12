"""`asyncio.wait_for` as Python has it from 3.12 on; Debian 12's Python 3.11 may lose a cancellation in it.

When what is waited for is done in the same turn of the loop in which the waiting task is cancelled, the old one returns
the result, and the task goes on as if nobody had cancelled it. pymongo sends every command through it and aiormq every
frame, so sooner or later whoever cancels a task and waits for its end waits for ever.
https://github.com/python/cpython/issues/86296
"""

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")

_wait_for = asyncio.wait_for


async def wait_for(awaitable: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109 - asyncio's own signature
    """Its result; `TimeoutError` after so many seconds, and always `CancelledError` for a task that was cancelled."""
    if timeout is None or timeout <= 0:
        return await _wait_for(awaitable, timeout)
    async with asyncio.timeout(timeout):
        return await awaitable


def mend() -> None:
    """Have every library of this process use it, where Python's own is the old one."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for  # type: ignore[assignment]
