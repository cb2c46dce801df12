"""The only module of this domain, beside `triggers`, that knows MongoDB."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from sdlc_agents.developments.model import Ticket, queued_from_ticket
from sdlc_agents.events.model import EventState
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import DUPLICATE_KEY, Database, Document, translate_errors
from sdlc_agents.kernel.rights import Action, rights, together
from sdlc_agents.webhooks.events import Event, ReceivedEvent, StoreResult
from sdlc_agents.webhooks.payload import Component, Delivery

LEASE = timedelta(seconds=20)
CLAIM_CHARACTERS = 16 * 1024 * 1024
RIGHTS = together(
    rights(Action.FIND, Action.INSERT, Action.UPDATE, on="webhook_events"),
    rights(Action.INSERT, on="developments"),
)

_DELIVERY_FIELDS = (
    "event_type",
    "jira_issue_id",
    "jira_issue_key",
    "jira_project_key",
    "summary",
    "description",
    "status",
    "previous_status",
)


class WebhookRepository:
    """Events as stored, and the developments made from them.

    `owner` names this process in the outbox: an event belongs to the process that stored it until its lease runs out,
    then to whoever claims it.
    """

    def __init__(self, db: Database, owner: str) -> None:
        self._events = db["webhook_events"]
        self._developments = db["developments"]
        self._owner = owner

    async def store(self, events: Sequence[ReceivedEvent]) -> list[StoreResult | ServiceError]:
        """Insert the events with one write, majority and journal, and say what became of each."""
        outcomes: list[StoreResult | ServiceError] = [StoreResult.STORED] * len(events)
        lease = now() + LEASE
        documents = [
            event.document() | {"state": EventState.STORED, "publisher": self._owner, "publish_lease_until": lease}
            for event in events
        ]
        for index, code in (await _insert(self._events, documents)).items():
            outcomes[index] = (
                StoreResult.DUPLICATE
                if code == DUPLICATE_KEY
                else UnavailableError("the database refused the delivery")
            )
        return outcomes

    async def claim(self, limit: int, *, without: Collection[str] = ()) -> list[Event]:
        """Take up to `limit` unpublished events, oldest first: this process's own and those whose lease ran out.

        They come without their payload, and fewer at once when their descriptions are long.
        `without` names events, by their id, that stay where they are.
        """
        moment = now()
        free: Document = {
            "state": EventState.STORED,
            "_id": {"$nin": list(without)},
            "$or": [{"publisher": self._owner}, {"publish_lease_until": {"$lt": moment}}],
        }
        with translate_errors():
            found = await self._events.find(free, {"_id": 1}).sort("_id", 1).limit(limit).to_list()
            if not found:
                return []
            chosen = {"_id": {"$in": [document["_id"] for document in found]}}
            lease = {"publisher": self._owner, "publish_lease_until": moment + LEASE}
            await self._events.update_many({**free, **chosen}, {"$set": lease})
            mine = {**chosen, "state": EventState.STORED, **lease}
            claimed: list[Event] = []
            characters = 0
            async for document in self._events.find(mine, {"raw_payload": 0}).sort("_id", 1):
                claimed.append(_event(document))
                characters += len(document["description"])
                if characters > CLAIM_CHARACTERS:
                    break  # the others stay this process's own
            return claimed

    async def release(self) -> None:
        """Give back what this process has not published, so that another need not wait for the lease."""
        with translate_errors():
            await self._events.update_many(
                {"state": EventState.STORED, "publisher": self._owner}, {"$set": {"publish_lease_until": now()}}
            )

    async def unpublished(self) -> int:
        """How many events wait to be published, by any process."""
        with translate_errors():
            return await self._events.count_documents({"state": EventState.STORED})

    async def queue_developments(self, events: Sequence[Event]) -> None:
        """Make the developments of these events, queued, unless they exist."""
        codes = await _insert(self._developments, [_development(event) for event in events])
        if any(code != DUPLICATE_KEY for code in codes.values()):
            raise UnavailableError("the database refused a development")

    async def mark_published(self, events: Sequence[Event], moment: datetime) -> None:
        """Note that the broker has taken these events."""
        with translate_errors():
            await self._events.update_many(
                {"_id": {"$in": [event.id for event in events]}},
                {
                    "$set": {"state": EventState.PUBLISHED, "processed_at": moment},
                    "$unset": {"publisher": "", "publish_lease_until": ""},
                },
            )


async def _insert(collection: AsyncCollection[Document], documents: Sequence[Document]) -> dict[int, int]:
    """Insert with one write, majority and journal; the error code of each that was refused, by its place.

    Raises `UnavailableError` when it is not known what became of them.
    """
    try:
        with translate_errors():
            await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        details: Document = dict(error.details or {})
        if details.get("writeConcernErrors"):
            raise UnavailableError("the database did not confirm the write") from error
        return {problem["index"]: problem["code"] for problem in details.get("writeErrors", [])}
    return {}


def _development(event: Event) -> Document:
    delivery = event.delivery
    ticket = Ticket(
        issue_id=delivery.jira_issue_id,
        issue_key=delivery.jira_issue_key,
        project_key=delivery.jira_project_key,
        summary=delivery.summary,
        description=delivery.description,
        components=tuple({"name": one.name, "description": one.description} for one in delivery.components),
    )
    development = queued_from_ticket(
        event.development_id, ticket, webhook_event_id=event.id, accepted_at=event.received_at
    )
    return dict(development)


def _event(document: Document) -> Event:
    return Event(
        id=document["_id"],
        development_id=document["development_id"],
        delivery_id=document["delivery_id"],
        received_at=document["received_at"],
        delivery=Delivery(
            **{name: document[name] for name in _DELIVERY_FIELDS},
            components=tuple(Component(**component) for component in document["components"]),
        ),
    )
