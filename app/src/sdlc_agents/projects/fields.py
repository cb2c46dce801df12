"""The fields of projects and repositories: what each may hold.

Each says its rule twice: as a check whose message a person understands, and as a pattern in the OpenAPI document that
lets through what the check lets through.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_PORT = r"(?::(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
_ATOM = r"[^\x00-\x20~^:?*\[\\\x7f./]"

PLAIN = r"^[^\x00]*$"
ONE_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
REPOSITORY_URL = rf"^https://{_HOST}{_PORT}(?:/[A-Za-z0-9._~+%-]+){{2,}}/?$"
JIRA_URL = rf"^(?:https?://{_HOST}{_PORT}(?:[/?#][\x21-\x7e]*)?)?$"
TOKEN = r"^[\x21-\x7e]{1,1000}$"  # noqa: S105 - a pattern
REPOSITORY_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
FORGE_USER = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,199}$"
EGRESS_HOST = r"^[.]?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$"
BRANCH = rf"^(?:[^-\x00-\x20~^:?*\[\\\x7f./]{_ATOM}*)(?:\.{_ATOM}+)*(?:/{_ATOM}+(?:\.{_ATOM}+)*)*$"

_BRANCH_FORBIDDEN = re.compile(r"@\{|\.lock(?:/|$)")


def _matching(pattern: str, reason: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise ValueError(reason)
        return value

    return check


def _stated(pattern: str, **limits: Any) -> Any:
    return Field(**limits, json_schema_extra={"pattern": pattern})


def _web_address(value: str, schemes: set[str]) -> str:
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if parts.scheme not in schemes or not parts.hostname or not port_is_valid:
        raise ValueError(f"must be a URL that begins with {' or '.join(sorted(f'{s}://' for s in schemes))}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or token")
    return value


def _repository_url(value: str) -> str:
    parts = urlsplit(_web_address(value, {"https"}))
    if not parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must name a repository, without query or fragment")
    return _matching(REPOSITORY_URL, "must have the form https://host/owner/name")(value).rstrip("/")


def _jira_url(value: str) -> str:
    if value:
        _web_address(value, {"https", "http"})
    return _matching(JIRA_URL, "must be written in ASCII, without spaces")(value)


def _branch(value: str) -> str:
    if _BRANCH_FORBIDDEN.search(value):
        raise ValueError("is not a valid branch name")
    return _matching(BRANCH, "is not a valid branch name")(value)


def _token(value: SecretStr) -> SecretStr:
    _matching(TOKEN, "must be 1 to 1000 printable characters without spaces")(value.get_secret_value())
    return value


def _stripped(value: str) -> str:
    return _matching(ONE_LINE, "must be one line that is not empty")(value).strip()


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _or_empty(pattern: str, longest: int) -> dict[str, Any]:
    """The schema of a string that may be left empty, or null, for want of a value."""
    text = {"type": "string", "pattern": f"^(?:{pattern[1:-1]})?$", "maxLength": longest}
    return {"anyOf": [text, {"type": "null"}]}


EmptyIsNone = BeforeValidator(_empty_is_none)
_no_null = AfterValidator(_matching(PLAIN, "must not hold a null character"))

Text = Annotated[str, _stated(PLAIN, max_length=10_000), _no_null]
ShortText = Annotated[str, _stated(PLAIN, max_length=200), _no_null]
Name = Annotated[str, _stated(ONE_LINE, min_length=1, max_length=200), AfterValidator(_stripped)]
StatusName = Annotated[str, _stated(ONE_LINE, min_length=1, max_length=100), AfterValidator(_stripped)]
ProjectKey = Annotated[str, Field(pattern=r"^[A-Z0-9_-]{1,255}$")]
RepositoryId = Annotated[str, Field(pattern=REPOSITORY_ID)]
JiraUrl = Annotated[str, _stated(JIRA_URL, max_length=2000), AfterValidator(_jira_url)]
RepositoryUrl = Annotated[str, _stated(REPOSITORY_URL, max_length=2000), AfterValidator(_repository_url)]
Command = Annotated[str, _stated(ONE_LINE, min_length=1, max_length=1000), AfterValidator(_stripped)]
ForgeUser = Annotated[str, Field(pattern=FORGE_USER)]
ModelName = Annotated[str, Field(pattern=MODEL_NAME)]
EgressHost = Annotated[str, Field(pattern=EGRESS_HOST, max_length=253)]
Branch = Annotated[str, _stated(BRANCH, min_length=1, max_length=200), AfterValidator(_branch)]
OptionalBranch = Annotated[Branch | None, EmptyIsNone, WithJsonSchema(_or_empty(BRANCH, 200))]
OptionalRepositoryId = Annotated[RepositoryId | None, EmptyIsNone, WithJsonSchema(_or_empty(REPOSITORY_ID, 100))]
Token = Annotated[SecretStr, AfterValidator(_token), WithJsonSchema({"type": "string", "pattern": TOKEN})]
