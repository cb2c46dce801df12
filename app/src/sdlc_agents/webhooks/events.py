"""What the database keeps of a delivery: the event document, which is the outbox entry too."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sdlc_agents.kernel.mongo import Document
from sdlc_agents.webhooks.payload import Delivery


class StoreResult(Enum):
    """What storing an event came to."""

    STORED = "stored"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A delivery on its way: stored once by its `delivery_id`, published as the development `development_id`."""

    id: str
    development_id: str
    delivery_id: str
    received_at: datetime
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedEvent(Event):
    """One that is to be stored, with `raw_payload`, the signed text itself. Nothing after that needs the text."""

    raw_payload: str

    def document(self) -> Document:
        """The event's own fields, as `webhook_events` keeps them."""
        delivery = self.delivery
        return {
            "_id": self.id,
            "development_id": self.development_id,
            "delivery_id": self.delivery_id,
            "received_at": self.received_at,
            "raw_payload": self.raw_payload,
            "event_type": delivery.event_type,
            "jira_issue_id": delivery.jira_issue_id,
            "jira_issue_key": delivery.jira_issue_key,
            "jira_project_key": delivery.jira_project_key,
            "summary": delivery.summary,
            "description": delivery.description,
            "status": delivery.status,
            "previous_status": delivery.previous_status,
            "components": [
                {"name": component.name, "description": component.description} for component in delivery.components
            ],
        }
