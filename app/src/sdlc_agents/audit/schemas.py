"""The audit log as the API shows it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class ActorOutput(BaseModel):
    """The API key that made a change, by its id and name."""

    key_id: str
    name: str


class AuditEntryOutput(BaseModel):
    """One change: `before` is null for what was made, `after` for what was removed; neither holds a secret."""

    id: str
    at: datetime
    action: str
    entity_id: str
    actor: ActorOutput
    address: str
    request_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
