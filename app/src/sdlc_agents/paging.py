"""Pages of a list that is sorted newest first.

`cursor` is the last id of the page before: stable while new documents come in.
"""

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from sdlc_agents.mongo import Document

Item = TypeVar("Item", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=100)]
KeyFilter = Annotated[str | None, Query(max_length=255)]


class Page(BaseModel, Generic[Item]):
    """One page; `next_cursor` asks for the next and is null on the last."""

    items: list[Item]
    next_cursor: str | None


def after(query: Document, cursor: str | None) -> Document:
    """The query, narrowed to what follows the cursor."""
    return query if cursor is None else {**query, "_id": {"$lt": cursor}}


def cut(documents: list[Document], limit: int) -> tuple[list[Document], str | None]:
    """From up to `limit + 1` documents: the page, and the cursor of the next."""
    if len(documents) <= limit:
        return documents, None
    return documents[:limit], documents[limit - 1]["_id"]
