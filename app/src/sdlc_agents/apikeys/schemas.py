"""API keys as the API takes and shows them."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from sdlc_agents.kernel.callers import Scope
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.paging import Moment

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _one_line(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must be one line, without control characters")
    return value


def _to_come(value: datetime) -> datetime:
    if value <= now():
        raise ValueError("must be in the future")
    return value


class ApiKeyInput(BaseModel):
    """A key to be made. Each scope holds the ones before it: read, write, admin."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)
    ]
    scopes: Annotated[set[Scope], Field(min_length=1, json_schema_extra={"uniqueItems": False})]
    expires_at: Annotated[Moment, AfterValidator(_to_come)] | None = None


class ApiKeyOutput(BaseModel):
    """A key, without the key. `last_used_at` is up to a minute old."""

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
