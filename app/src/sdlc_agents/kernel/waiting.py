"""Waiting in which no cancellation gets lost, and which none breaks off.

`mend` puts `asyncio.wait_for` as Python has it from 3.12 on in the place of that of Debian 12's Python 3.11, which may
lose a cancellation: when what is waited for is done in the same turn of the loop in which the waiting task is
cancelled, it returns the result, and the task goes on as if nobody had cancelled it. pymongo sends every command
through it, so sooner or later whoever cancels a task and waits for its end waits for ever.
https://github.com/python/cpython/issues/86296
"""

import asyncio
import sys
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_wait_for = asyncio.wait_for


async def wait_for(awaitable: Awaitable[_T], timeout: float | None) -> _T:  # noqa: ASYNC109 - asyncio's own signature
    """Its result; `TimeoutError` after so many seconds, and always `CancelledError` for a task that was cancelled."""
    if timeout is None or timeout <= 0:
        return await _wait_for(awaitable, timeout)
    async with asyncio.timeout(timeout):
        return await awaitable


async def to_the_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Its result. A cancellation, however many come, waits until it is done, and is raised then.

    For what a task does at its end, in bounded time: whoever cancels it then would leave half of it undone.
    """
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def mend() -> None:
    """Have every library of this process use it, where Python's own is the old one."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = wait_for  # type: ignore[assignment]
