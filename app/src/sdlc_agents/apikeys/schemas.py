"""API keys as the API takes and shows them."""

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from sdlc_agents.apikeys.keys import Scope


class ApiKeyInput(BaseModel):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    scopes: Annotated[set[Scope], Field(min_length=1)]
    expires_at: AwareDatetime | None = None


class ApiKeyOutput(BaseModel):
    """A key, without the key."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewApiKeyOutput(ApiKeyOutput):
    """A key that was just made: the one time it is shown."""

    key: str
