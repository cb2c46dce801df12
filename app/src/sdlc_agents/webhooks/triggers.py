"""Each project's trigger, from the collection `project_triggers`.

The configuration API writes `{_id: <Jira project key>, status, event_kinds}` there; a project without an entry has the
service's own trigger. All of them are kept in memory, read anew every second; while the database is away the last known
ones count.
"""

import asyncio
from contextlib import suppress

import structlog

from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import Database, Document, MongoError, translate_errors
from sdlc_agents.kernel.rights import Action, rights
from sdlc_agents.webhooks.payload import TriggerRule

REFRESH_SECONDS = 1.0
READ_SECONDS = 5.0
RIGHTS = rights(Action.FIND, on="project_triggers")

log = structlog.get_logger()


class ProjectTriggers:
    """`of` answers from memory; run `run` beside it until `stop`."""

    def __init__(self, db: Database, default: TriggerRule, *, refresh_seconds: float = REFRESH_SECONDS) -> None:
        self._collection = db["project_triggers"]
        self._default = default
        self._refresh_seconds = refresh_seconds
        self._known: dict[str, TriggerRule] | None = None

    def of(self, jira_project_key: str) -> TriggerRule:
        """The project's trigger; raises `UnavailableError` while the database has not been read yet."""
        return self._all().get(jira_project_key, self._default)

    async def check(self) -> None:
        """Raise `UnavailableError` while they are not known: what `/ready` asks."""
        self._all()

    async def refresh(self) -> None:
        """Read them now; raises `UnavailableError` when the database is away."""
        try:
            # pymongo's own timeout does not cover the TLS handshake of a new connection.
            async with asyncio.timeout(READ_SECONDS):
                with translate_errors():
                    found = await self._collection.find({}, {"status": 1, "event_kinds": 1}).to_list()
        except TimeoutError as error:
            raise UnavailableError("the database did not answer in time") from error
        self._known = {document["_id"]: _trigger(document) for document in found}

    async def run(self, stop: asyncio.Event) -> None:
        """Read them again and again until told to stop."""
        well = True
        while not await _is_set(stop, self._refresh_seconds):
            try:
                await self.refresh()
                well = True
            except (ServiceError, MongoError) as error:
                if well:
                    log.warning("triggers_not_read", error=str(error))
                well = False

    def _all(self) -> dict[str, TriggerRule]:
        if self._known is None:
            raise UnavailableError("the projects' triggers are not known yet")
        return self._known


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def _trigger(document: Document) -> TriggerRule:
    return TriggerRule(status=document["status"], event_kinds=frozenset(document["event_kinds"]))
