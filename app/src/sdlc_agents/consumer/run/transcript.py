"""Keeping a run's events: in batches, bounded, without secrets, and beside the run rather than in its way."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog

from sdlc_agents.consumer.run.repository import TranscriptRepository
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.ids import new_object_id
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.kernel.waiting import to_the_end
from sdlc_agents.runs.protocol import Event, Message, to_line

MAX_EVENTS = 5000
MAX_BYTES = 32 * 1024 * 1024
_BATCH = 200
_SECONDS = 0.25
_LAST_SECONDS = 15.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Run:
    """Whose events they are."""

    development_id: str
    job_id: str
    fence: int


class Transcript:
    """The events of one run. `add` takes them as they come; what waits is stored by the task of `keep_transcript`."""

    def __init__(self, repository: TranscriptRepository, run: Run, redact: Callable[[str], str]) -> None:
        self._repository = repository
        self._about = {"development_id": run.development_id, "job_id": run.job_id, "attempt_fence": run.fence}
        self._redact = redact
        self._waiting: list[Document] = []
        self._count = 0
        self._bytes = 0
        self._full = False

    def add(self, event: Event) -> None:
        """Keep one event; past the bounds, events are dropped and one of them says so."""
        if self._full:
            return
        self._bytes += len(to_line(event))
        if self._count >= MAX_EVENTS or self._bytes > MAX_BYTES:
            self._full = True
            event = Message(at=event.at, text=f"The transcript ends here: {self._count} events are kept of a run.")
        document = event.model_dump()
        for name in ("text", "content", "message", "command", "output"):
            if isinstance(document.get(name), str):
                document[name] = self._redact(document[name])
        # With an id from here, storing it a second time after a lost answer changes nothing.
        self._waiting.append(
            {"_id": new_object_id(), **self._about, "seq": self._count, **document, "stored_at": now()},
        )
        self._count += 1

    async def store_for_ever(self) -> None:
        """Store what waits, again and again; what an outage of the database holds up goes on waiting."""
        while True:
            await asyncio.sleep(_SECONDS)
            with suppress(UnavailableError):
                await self.store()

    async def store(self) -> None:
        """Store what waits. Raises `UnavailableError`, and keeps the rest."""
        while self._waiting:
            batch = self._waiting[:_BATCH]
            try:
                await self._repository.add(batch)
            except UnavailableError:
                raise
            except Exception:
                # What cannot be written now cannot be later: the run goes on without it.
                log.exception("events_lost", count=len(batch))
            del self._waiting[: len(batch)]


@asynccontextmanager
async def keep_transcript(
    repository: TranscriptRepository, run: Run, redact: Callable[[str], str]
) -> AsyncIterator[Transcript]:
    """A transcript that is stored while the block runs, and to its end when it is left.

    A database that stays away costs the last events, never the run.
    """
    transcript = Transcript(repository, run, redact)
    storing = asyncio.create_task(transcript.store_for_ever(), name="transcript")
    try:
        yield transcript
    finally:
        await to_the_end(_store_the_rest(transcript, storing))


async def _store_the_rest(transcript: Transcript, storing: asyncio.Task[None]) -> None:
    # Until it is done: below Python 3.12, `asyncio.wait_for` in the driver may swallow a cancellation.
    while not storing.done():
        storing.cancel()
        await asyncio.wait([storing], timeout=1)
    try:
        async with asyncio.timeout(_LAST_SECONDS):
            await transcript.store()
    except (UnavailableError, TimeoutError):
        log.warning("events_lost")
