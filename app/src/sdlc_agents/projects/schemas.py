"""Projects and repositories as the API takes and shows them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from sdlc_agents.events.model import EventKind
from sdlc_agents.forges.model import ForgeKind, ProblemCode
from sdlc_agents.projects.fields import (
    JiraUrl,
    Name,
    OptionalBranch,
    OptionalRepositoryId,
    ProjectKey,
    RepositoryUrl,
    ShortText,
    StatusName,
    Text,
    Token,
)
from sdlc_agents.projects.policies import AgentPolicy, PullRequestPolicy, TicketPolicy


def _unique_kinds(kinds: list[EventKind]) -> list[EventKind]:
    if len(kinds) != len(set(kinds)):
        raise ValueError("two are the same")
    return kinds


class Trigger(BaseModel):
    """What starts a development: that a ticket gets this status, by an event of one of these kinds."""

    status: StatusName = "In Development"
    event_kinds: Annotated[
        list[EventKind],
        Field(min_length=1, max_length=2, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_unique_kinds),
    ] = [EventKind.CREATED, EventKind.UPDATED]


class RepositoryInput(BaseModel):
    """A repository to be kept.

    `git_access_token` opens it for reading and pushing; the masked one of a former answer leaves what is stored.
    Without `repository_id` it gets one, without `base_branch` the forge's default branch is the base, without `forge`
    the URL's host tells which software it is.
    """

    repository_id: OptionalRepositoryId = None
    url: RepositoryUrl
    description: Text = ""
    git_access_token: Token
    base_branch: OptionalBranch = None
    forge: ForgeKind | None = None


def _unique_repository_ids(repositories: list[RepositoryInput]) -> list[RepositoryInput]:
    ids = [repository.repository_id for repository in repositories if repository.repository_id]
    if len(ids) != len(set(ids)):
        raise ValueError("two have the same repository_id")
    return repositories


class ProjectInput(BaseModel):
    """A project to be kept. Without a `trigger` the appliance's own holds (JIRA_TRIGGER_STATUS, both kinds)."""

    name: Name
    description: Text = ""
    scope: Text = ""
    jira_project_key: ProjectKey
    jira_project_name: ShortText = ""
    jira_project_url: JiraUrl = ""
    repositories: Annotated[
        list[RepositoryInput], Field(min_length=1, max_length=200), AfterValidator(_unique_repository_ids)
    ]
    trigger: Trigger | None = None
    agent: AgentPolicy = AgentPolicy()
    pull_requests: PullRequestPolicy = PullRequestPolicy()
    ticket: TicketPolicy = TicketPolicy()


class RepositoryOutput(BaseModel):
    """A repository; of the token no more than its last four characters."""

    repository_id: str
    url: str
    description: str
    git_access_token: str
    base_branch: str | None
    forge: ForgeKind | None


class ProjectOutput(BaseModel):
    """A project. `revision` counts its states from 1, changes of its repositories included; it is the ETag."""

    id: str
    name: str
    description: str
    scope: str
    jira_project_key: str
    jira_project_name: str
    jira_project_url: str
    repositories: list[RepositoryOutput]
    trigger: Trigger | None
    agent: AgentPolicy
    pull_requests: PullRequestPolicy
    ticket: TicketPolicy
    revision: int
    created_at: datetime
    updated_at: datetime


class CheckState(StrEnum):
    """How far a check has come."""

    WAITING = "waiting"
    DONE = "done"


class ProblemOutput(BaseModel):
    """Why a repository cannot be worked on, in words that say what to do about it."""

    code: ProblemCode
    message: str


class RepositoryCheckOutput(BaseModel):
    """One repository: whether its token opens it for reading and pushing and its base branch is there, or why not."""

    repository_id: str
    url: str
    ok: bool
    problems: list[ProblemOutput]


class CheckOutput(BaseModel):
    """A check of a project; `ok` and `results` are null until it is done."""

    id: str
    project_id: str
    state: CheckState
    requested_at: datetime
    done_at: datetime | None
    ok: bool | None
    results: list[RepositoryCheckOutput] | None
