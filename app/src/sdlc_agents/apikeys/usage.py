"""When keys were last used: noted beside the requests, never in their way, and at most once a minute a key."""

import asyncio
from datetime import datetime, timedelta

import structlog

from sdlc_agents.apikeys.repository import ApiKeyRepository
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Document, MongoError

GRAIN = timedelta(minutes=1)

log = structlog.get_logger()


class LastUsed:
    """Writes in tasks of its own. What cannot be written is left: the next minute's request writes again."""

    def __init__(self, repository: ApiKeyRepository) -> None:
        self._repository = repository
        self._noted: dict[str, datetime] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, document: Document) -> None:
        """A request came with this key."""
        moment, key_id = now(), str(document["_id"])
        known = [noted for noted in (document.get("last_used_at"), self._noted.get(key_id)) if noted is not None]
        if known and moment - max(known) < GRAIN:
            return
        self._noted[key_id] = moment
        task = asyncio.create_task(self._write(key_id, moment))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, key_id: str, moment: datetime) -> None:
        try:
            await self._repository.used(key_id, moment, not_after=moment - GRAIN)
        except (UnavailableError, MongoError) as error:
            log.warning("last_use_not_noted", key_id=key_id, error=repr(error))
