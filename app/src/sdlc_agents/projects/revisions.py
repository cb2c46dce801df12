"""Optimistic concurrency: a project's revision as its ETag, and the If-Match of whoever changes it.

https://www.rfc-editor.org/rfc/rfc9110#name-if-match: several tags may be given, `*` is any, weak tags never match.
"""

import re
from typing import Annotated

from fastapi import Header, Response

from sdlc_agents.kernel.errors import InvalidRequestError, PreconditionFailedError
from sdlc_agents.kernel.mongo import Document

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
_IF_MATCH = re.compile(rf"\*|{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1000,
        description="The ETag of the project as the caller knows it; 412 when it is another one by now.",
        json_schema_extra={"pattern": rf"^(?:{_IF_MATCH.pattern})$"},
    ),
]


def revision(document: Document) -> int:
    """A project's revision; 1 for one that was stored before revisions were counted."""
    return int(document.get("revision", 1))


def tag(number: int) -> str:
    """A revision as an ETag."""
    return f'"{number}"'


def show(response: Response, number: int) -> None:
    """Put the ETag into an answer."""
    response.headers["ETag"] = tag(number)


def check(if_match: str | None, document: Document) -> None:
    """Raise `PreconditionFailedError` when the caller knows another revision, 400 when the header is not one."""
    if if_match is None:
        return
    given = if_match.strip()
    if _IF_MATCH.fullmatch(given) is None:
        raise InvalidRequestError('If-Match: must be an ETag in quotation marks, as in "3"')
    current = revision(document)
    if given != "*" and tag(current) not in re.findall(_TAG, given):
        raise PreconditionFailedError(
            f"the project was changed meanwhile and has revision {current} now: get it again, then change it"
        )
