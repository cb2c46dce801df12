"""Projects and repositories as the API takes and shows them."""

import re
from datetime import datetime
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, StringConstraints, model_validator

_BRANCH_FORBIDDEN = re.compile(r"[\x00-\x20~^:?*\[\\\x7f]|\.\.|@\{|//|^[-/.]|[/.]$|\.lock$|/\.|\.lock/")


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
    return value.rstrip("/")


def _jira_url(value: str) -> str:
    return _web_address(value, {"https", "http"}) if value else value


def _branch(value: str) -> str:
    if _BRANCH_FORBIDDEN.search(value):
        raise ValueError("is not a valid branch name")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]{1,1000}", value.get_secret_value()):
        raise ValueError("must be 1 to 1000 printable characters without spaces")
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def _plain(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not hold a null character")
    return value


Text = Annotated[str, Field(max_length=10_000), AfterValidator(_plain)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_plain)]
ProjectKey = Annotated[str, Field(pattern=r"^[A-Z0-9_-]{1,255}$")]
RepositoryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class RepositoryInput(BaseModel):
    """A repository to be kept. `git_access_token` may be the masked one of a former answer: then it stays."""

    repository_id: Annotated[RepositoryId | None, BeforeValidator(_empty_is_none)] = None
    url: Annotated[str, Field(max_length=2000), AfterValidator(_repository_url)]
    description: Text = ""
    git_access_token: Annotated[SecretStr, AfterValidator(_token)]
    base_branch: Annotated[
        Annotated[str, Field(max_length=200), AfterValidator(_branch)] | None, BeforeValidator(_empty_is_none)
    ] = None


class ProjectInput(BaseModel):
    """A project to be kept."""

    name: Name
    description: Text = ""
    scope: Text = ""
    jira_project_key: ProjectKey
    jira_project_name: Annotated[str, Field(max_length=200), AfterValidator(_plain)] = ""
    jira_project_url: Annotated[str, Field(max_length=2000), AfterValidator(_jira_url)] = ""
    repositories: Annotated[list[RepositoryInput], Field(min_length=1, max_length=200)]

    @model_validator(mode="after")
    def _repository_ids_are_unique(self) -> Self:
        ids = [repository.repository_id for repository in self.repositories if repository.repository_id]
        if len(ids) != len(set(ids)):
            raise ValueError("repositories: two have the same repository_id")
        return self


class RepositoryOutput(BaseModel):
    """A repository; of the token no more than its last four characters."""

    repository_id: str
    url: str
    description: str
    git_access_token: str
    base_branch: str | None


class ProjectOutput(BaseModel):
    """A project."""

    id: str
    name: str
    description: str
    scope: str
    jira_project_key: str
    jira_project_name: str
    jira_project_url: str
    repositories: list[RepositoryOutput]
    created_at: datetime
    updated_at: datetime
