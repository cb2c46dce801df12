"""Group commit: many requests, one insert.

A durable write costs a journal flush, whatever it carries. So requests that arrive while one write is under way share
the next one. Nobody waits for a batch to fill: when no write is under way, a request is written at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult

Write = Callable[[Sequence[ReceivedEvent]], Awaitable[Sequence[StoreResult | ServiceError]]]
"""Stores events durably; one outcome or error for each. Raises `ServiceError` when none was stored."""

log = structlog.get_logger()


class GroupCommit:
    """Use it as `async with`; leaving the block writes what still waits."""

    def __init__(self, write: Write, *, max_batch: int = 256, max_waiting: int = 2048) -> None:
        self._write = write
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[ReceivedEvent, asyncio.Future[StoreResult]]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="group-commit")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def store(self, event: ReceivedEvent) -> StoreResult:
        """Store one event durably, together with those that came with it.

        Raises `UnavailableError` when the database is away or too many requests wait already.
        """
        if self._closing or len(self._waiting) >= self._max_waiting:
            raise UnavailableError("too many deliveries are waiting", retry_after=2)
        future: asyncio.Future[StoreResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: Sequence[tuple[ReceivedEvent, asyncio.Future[StoreResult]]]) -> None:
        results: Sequence[StoreResult | ServiceError]
        try:
            results = await self._write([event for event, _ in batch])
        except ServiceError as error:
            # Who waits behind this batch would only find out the same, a time limit later each.
            batch = [*batch, *self._waiting]
            self._waiting.clear()
            results = [error] * len(batch)
        except Exception:
            log.exception("group_commit_failed", events=len(batch))
            results = [UnavailableError("the delivery could not be stored")] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            with suppress(asyncio.InvalidStateError):  # the request was given up meanwhile
                if isinstance(result, ServiceError):
                    future.set_exception(result)
                else:
                    future.set_result(result)
