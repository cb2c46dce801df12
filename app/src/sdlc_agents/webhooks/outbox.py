"""The outbox: every stored event goes to the broker, also when the broker was away or a process died.

The event document is the entry. Events of this process come from memory right after they were stored; after any
trouble, and at the start, the loop first takes from the database what is not in memory ("behind"), oldest first, until
nothing is left there. Every so often it also looks for events that a dead process left. At least once, normally once;
in order per ticket.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.mongo import is_outage
from sdlc_agents.webhooks.events import Event, ReceivedEvent, StoreResult
from sdlc_agents.webhooks.publisher import Publisher
from sdlc_agents.webhooks.repository import LEASE, WebhookRepository

BATCH = 500
MEMORY = 5000
MEMORY_CHARACTERS = 16 * 1024 * 1024
# What comes so soon after a small batch goes with the next one: each batch writes to the database twice.
GATHER_SECONDS = 0.05
SMALL_BATCH = 16
SWEEP_SECONDS = 5.0
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
LAST_FLUSH_SECONDS = 3.0
RELEASE_SECONDS = 2.0

log = structlog.get_logger()


class Outbox:
    """`store` events through it; run `run` beside it until `stop`."""

    def __init__(
        self,
        repository: WebhookRepository,
        publisher: Publisher,
        registry: CollectorRegistry,
        *,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._repository = repository
        self._publisher = publisher
        self._sweep_seconds = sweep_seconds
        # What is in memory: on its way to the database, and stored. The database is asked for all but these.
        self._storing: set[str] = set()
        self._fresh: deque[ReceivedEvent] = deque()
        self._behind = True
        self._next_sweep = 0.0
        self._failures = 0
        self._wake = asyncio.Event()
        self._published = Counter("sdlc_events_published", "Events that the broker has confirmed", registry=registry)
        self._failed = Counter("sdlc_publish_failures", "Events that could not be published now", registry=registry)
        self._waiting = Gauge("sdlc_outbox_events", "Stored events that wait to be published", registry=registry)

    async def store(self, events: Sequence[ReceivedEvent]) -> Sequence[StoreResult | ServiceError]:
        """Store events with one write and take those that are stored; see `WebhookRepository.store`."""
        identities = {event.id for event in events}
        self._storing |= identities
        try:
            outcomes = await self._repository.store(events)
            stored = [event for event, outcome in zip(events, outcomes, strict=True) if outcome is StoreResult.STORED]
            characters = sum(len(event.raw_payload) for event in chain(self._fresh, stored))
            if len(self._fresh) + len(stored) > MEMORY or characters > MEMORY_CHARACTERS:
                self._fall_behind()
            else:
                self._fresh.extend(stored)
        finally:
            self._storing -= identities
        self._wake.set()
        return outcomes

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until told to stop, then what is at hand, and give back the rest.

        Ends within `LAST_FLUSH_SECONDS + RELEASE_SECONDS` of the stop, also when database or broker are away.
        """
        working = asyncio.create_task(self._work(stop), name="outbox-work")
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working}, timeout=LAST_FLUSH_SECONDS)
        finally:
            stopping.cancel()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        with suppress(TimeoutError, ServiceError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._repository.release()

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            if not await self._round(stop):
                await self._measure()
                await _any(stop, timeout=self._backoff())
            elif not self._fresh:
                await _any(stop, self._wake, timeout=self._sweep_seconds)
        await self._round(stop)

    async def _measure(self) -> None:
        with suppress(ServiceError):
            self._waiting.set(await self._repository.unpublished())

    def _backoff(self) -> float:
        self._failures += 1
        return BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS)) - 1]

    async def _round(self, stop: asyncio.Event) -> bool:
        """Publish what there is; False when something could not be published now."""
        try:
            while True:
                events = await self._take()
                if not events:
                    self._failures = 0
                    return True
                if not await self._publish(events):
                    self._fall_behind()
                    return False
                if len(events) < SMALL_BATCH and not self._behind:
                    await _any(stop, timeout=GATHER_SECONDS)
        except ServiceError as error:
            log.warning("outbox_waits", code=error.code, error=error.message)
        except Exception as error:
            if not is_outage(error):
                log.exception("outbox_round_failed")
        self._fall_behind()
        return False

    async def _take(self) -> Sequence[Event]:
        if self._fresh and now() - self._fresh[0].received_at > LEASE / 2:
            self._fall_behind()
        if self._behind or time.monotonic() >= self._next_sweep:
            self._behind = False
            claimed = await self._repository.claim(BATCH, without=self._in_memory())
            if claimed:
                self._behind = True
                in_memory = self._in_memory()  # what came while the database searched may have been found, too
                return [event for event in claimed if event.id not in in_memory]
            self._next_sweep = time.monotonic() + self._sweep_seconds
            self._waiting.set(len(self._fresh))
        return [self._fresh.popleft() for _ in range(min(len(self._fresh), BATCH))]

    def _in_memory(self) -> set[str]:
        return self._storing.union(event.id for event in self._fresh)

    def _fall_behind(self) -> None:
        self._behind = True
        self._fresh.clear()

    async def _publish(self, events: Sequence[Event]) -> bool:
        """Publish a batch; whether all of it went out. Raises `UnavailableError` before any when the broker is away."""
        await self._repository.queue_developments(events)
        await self._publisher.connect()
        published = await self._publish_in_order(events)
        if published:
            await self._repository.mark_published(published, now())
            self._published.inc(len(published))
            for event in published:
                log.info(
                    "development_published",
                    development_id=event.development_id,
                    jira_issue_key=event.delivery.jira_issue_key,
                )
        left = len(events) - len(published)
        if left:
            self._failed.inc(left)
            log.warning("events_not_published", events=left)
        return not left

    async def _publish_in_order(self, events: Sequence[Event]) -> list[Event]:
        """All tickets at once, but one ticket's events one after the other, up to the first that is not taken."""
        tickets: dict[str, deque[Event]] = {}
        for event in events:
            tickets.setdefault(event.delivery.jira_issue_key, deque()).append(event)
        published: list[Event] = []
        while tickets:
            taken = await self._publisher.publish([waiting.popleft() for waiting in tickets.values()])
            published += taken
            confirmed = {event.delivery.jira_issue_key for event in taken}
            tickets = {ticket: waiting for ticket, waiting in tickets.items() if waiting and ticket in confirmed}
        return published


async def _any(*events: asyncio.Event, timeout: float) -> bool:  # noqa: ASYNC109 - several events, one deadline
    """Wait until one of the events is set; False when the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    done, waiting = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for wait in waiting:
        wait.cancel()
    return bool(done)
