"""The outbox: every stored event goes to the broker, also when the broker was away or a process died.

The event document is the entry. Events of this process come from memory right after they were stored; after any
trouble, and at the start, the loop reads the database instead ("behind"), oldest first, until nothing is left there.
Every so often it also looks for events that a dead process left. At least once, normally once; in order per ticket.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from sdlc_agents.clock import now
from sdlc_agents.errors import ServiceError
from sdlc_agents.mongo import is_outage
from sdlc_agents.webhooks.events import Event
from sdlc_agents.webhooks.publisher import Publisher
from sdlc_agents.webhooks.repository import LEASE, WebhookRepository

BATCH = 200
MEMORY = 5000
SWEEP_SECONDS = 5.0
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
LAST_FLUSH_SECONDS = 3.0
RELEASE_SECONDS = 2.0

log = structlog.get_logger()


class Outbox:
    """`offer` what was stored; run `run` beside it until `stop`."""

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
        self._fresh: deque[Event] = deque()
        self._behind = True
        self._missed = False
        self._failures = 0
        self._wake = asyncio.Event()
        self._published = Counter("sdlc_events_published", "Events that the broker has confirmed", registry=registry)
        self._failed = Counter("sdlc_publish_failures", "Events that could not be published now", registry=registry)
        self._waiting = Gauge("sdlc_outbox_events", "Stored events that wait to be published", registry=registry)

    def offer(self, event: Event) -> None:
        """Hand over an event that was just stored."""
        if self._behind or len(self._fresh) >= MEMORY:
            self._missed = True
            self._fall_behind()
        else:
            self._fresh.append(event)
        self._wake.set()

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
            if not await self._round():
                await self._measure()
                await _any(stop, timeout=self._backoff())
            elif not self._fresh and not await _any(stop, self._wake, timeout=self._sweep_seconds):
                self._behind = True  # time to look for what others left
        await self._round()

    async def _measure(self) -> None:
        with suppress(ServiceError):
            self._waiting.set(await self._repository.unpublished())

    def _backoff(self) -> float:
        self._failures += 1
        return BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS)) - 1]

    async def _round(self) -> bool:
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
        if not self._behind:
            return [self._fresh.popleft() for _ in range(min(len(self._fresh), BATCH))]
        self._missed = False
        events = await self._repository.claim(BATCH)
        if not events and not self._missed:
            self._behind = False
            self._waiting.set(0)
        return events

    def _fall_behind(self) -> None:
        self._behind = True
        self._fresh.clear()

    async def _publish(self, events: Sequence[Event]) -> bool:
        """Publish a batch; whether all of it went out. Raises `UnavailableError` before any when the broker is away."""
        await self._repository.queue_developments(events)
        await self._publisher.connect()
        tickets = groupby(sorted(events, key=_ticket), key=_ticket)
        done = await asyncio.gather(*(self._publish_ticket(list(group)) for _, group in tickets))
        published = [event for group in done for event in group]
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

    async def _publish_ticket(self, events: Sequence[Event]) -> list[Event]:
        """One ticket's events in order, up to the first that the broker does not take."""
        published: list[Event] = []
        for event in events:
            try:
                await self._publisher.publish(event)
            except ServiceError as error:
                log.debug("publish_failed", development_id=event.development_id, error=error.message)
                break
            published.append(event)
        return published


async def _any(*events: asyncio.Event, timeout: float) -> bool:  # noqa: ASYNC109 - several events, one deadline
    """Wait until one of the events is set; False when the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    done, waiting = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for wait in waiting:
        wait.cancel()
    return bool(done)


def _ticket(event: Event) -> str:
    return event.delivery.jira_issue_key
