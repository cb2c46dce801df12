"""Keeping a run's events: in batches, bounded, without secrets."""

import asyncio
import time
from collections.abc import Callable

import structlog

from sdlc_agents.agent.repository import TranscriptRepository
from sdlc_agents.errors import UnavailableError
from sdlc_agents.mongo import Document
from sdlc_agents.runner.protocol import Event, Message, to_line

MAX_EVENTS = 5000
MAX_BYTES = 32 * 1024 * 1024
_BATCH = 50
_SECONDS = 0.5

log = structlog.get_logger()


class Transcript:
    """The events of one run. `add` takes them as they come, `flush` stores what is left."""

    def __init__(
        self,
        repository: TranscriptRepository,
        development_id: str,
        job_id: str,
        fence: int,
        redact: Callable[[str], str],
    ) -> None:
        self._repository = repository
        self._about = {"development_id": development_id, "job_id": job_id, "attempt_fence": fence}
        self._redact = redact
        self._waiting: list[Document] = []
        self._since = time.monotonic()
        self._count = 0
        self._bytes = 0
        self._full = False

    async def add(self, event: Event) -> None:
        """Keep one event; past the bounds, events are dropped and one of them says so."""
        self._append(event)
        if len(self._waiting) >= _BATCH or time.monotonic() - self._since > _SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Store what is waiting. A database that is away costs events, never the run."""
        waiting, self._waiting = self._waiting, []
        self._since = time.monotonic()
        if not waiting:
            return
        try:
            await asyncio.shield(self._repository.add(waiting))
        except UnavailableError as error:
            log.warning("events_lost", count=len(waiting), error=error.message)

    def _append(self, event: Event) -> None:
        if self._full:
            return
        self._bytes += len(to_line(event))
        if self._count >= MAX_EVENTS or self._bytes > MAX_BYTES:
            self._full = True
            event = Message(at=event.at, text=f"The transcript ends here: {self._count} events are kept of a run.")
        document = event.model_dump()
        for name in ("text", "content", "message"):
            if isinstance(document.get(name), str):
                document[name] = self._redact(document[name])
        self._waiting.append({**self._about, "seq": self._count, **document})
        self._count += 1
