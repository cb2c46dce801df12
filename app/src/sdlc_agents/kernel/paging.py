"""Pages of a list that is sorted newest first, and the filters that lists share.

`cursor` is the last id of the page before: stable while new documents come in. Ids sort by the second they were made
in and never change, so a page is neither skipped nor shown twice.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator

from sdlc_agents.kernel.mongo import Document

Item = TypeVar("Item", bound=BaseModel)

_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _written_out(value: object) -> object:
    if isinstance(value, str) and _RFC_3339.fullmatch(value) is None:
        raise ValueError("must be a date and time with its offset, as in 2026-01-31T09:30:00Z")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:  # an offset that leads out of the years that Python counts
        return value.replace(tzinfo=UTC)


Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=255, description="`next_cursor` of the page before.")]
KeyFilter = Annotated[str | None, Query(max_length=255, description="Only this one; exactly as written.")]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_utc)]
FromFilter = Annotated[Moment | None, Query(description="From this moment on (RFC 3339).")]
ToFilter = Annotated[Moment | None, Query(description="Before this moment (RFC 3339).")]


class Page(BaseModel, Generic[Item]):
    """One page; `next_cursor` asks for the next and is null on the last."""

    items: list[Item]
    next_cursor: str | None


def matching(**given: str | None) -> Document:
    """A query for documents whose fields are exactly these; a field that is None is left out.

    The values are compared as data (`$eq`): an operator in one of them is a string like any other.
    """
    return {name: {"$eq": value} for name, value in given.items() if value is not None}


def within(field: str, start: datetime | None, end: datetime | None) -> Document:
    """A query for documents whose date is at or after `start` and before `end`, as far as they are given."""
    bounds: Document = {}
    if start is not None:
        bounds["$gte"] = start
    if end is not None:
        bounds["$lt"] = end
    return {field: bounds} if bounds else {}


def after(query: Document, cursor: str | None) -> Document:
    """The query, narrowed to what follows the cursor."""
    return query if cursor is None else {**query, "_id": {"$lt": cursor}}


def cut(documents: list[Document], limit: int) -> tuple[list[Document], str | None]:
    """From up to `limit + 1` documents: the page, and the cursor of the next."""
    if len(documents) <= limit:
        return documents, None
    return documents[:limit], documents[limit - 1]["_id"]
