"""Developments as the API shows them; the lease and other inner fields stay inside."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, GetPydanticSchema
from pydantic_core import core_schema

from sdlc_agents.developments.model import Kind, Status


def _by_value(states: type[StrEnum]) -> GetPydanticSchema:
    """One of these. An enum would get a schema with a name of its own in the API's document: a change of the API."""
    literal = core_schema.literal_schema([state.value for state in states])
    return GetPydanticSchema(lambda _type, _handler: core_schema.no_info_after_validator_function(states, literal))


StatusField = Annotated[str, _by_value(Status)]
KindField = Annotated[str, _by_value(Kind)]


class AttemptOutput(BaseModel):
    """One attempt that ended. `cost_usd` is null for one whose consumer was lost, as nobody was there to add it up."""

    attempt: int
    outcome: str
    error_message: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    cost_usd: float | None = None


class WorkCheckOutput(BaseModel):
    """What the project's check said of the work, last.

    `round` is 2 where the agent had repaired its work by then; `repair_failed` says why a repair came to nothing, the
    work being that of before it. `exit_status` is negative after a signal, null where the check was stopped. `output`
    is the end of what it printed.
    """

    command: str
    result: Literal["passed", "failed", "timed_out"]
    exit_status: int | None = None
    seconds: float
    round: int
    repair_failed: str | None = None
    output: str


class ReviewCommentOutput(BaseModel):
    """What a reviewer said on a pull request; `path` and `line` where it was on a line of code."""

    author: str
    body: str
    path: str | None = None
    line: int | None = None
    requests_changes: bool = False


class FollowUpOutput(BaseModel):
    """What a run after a review is about: `of` is the development that led to the pull request before it."""

    pull_request_number: int
    pull_request_url: str
    of: str
    requested_by: str
    comments: list[ReviewCommentOutput]


class DevelopmentOutput(BaseModel):
    """A development: of a ticket, or (`follow_up`) of what reviewers asked for on its pull request.

    `outcome` is the kind of its end, `attempts` how often it was begun, `attempts_log` how each attempt ended (the last
    100), `timings` when each step was reached, `cost_usd` and `usage` (tokens by kind) what all attempts took.
    """

    id: str
    kind: KindField = Kind.TICKET
    status: StatusField
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    summary: str = ""
    description: str = ""
    repository_url: str | None = None
    branch_name: str | None = None
    follow_up: FollowUpOutput | None = None
    pr_mr_url: str | None = None
    prompt: str = ""
    development_details: str | None = None
    check: WorkCheckOutput | None = None
    outcome: str | None = None
    error_message: str | None = None
    attempts: int = 0
    attempts_log: list[AttemptOutput] = []
    cost_usd: float | None = None
    usage: dict[str, Any] | None = None
    turns: int | None = None
    duration_seconds: float | None = None
    timings: dict[str, datetime | None] = {}
    created_at: datetime
    completed_at: datetime | None = None
    cancel_requested_at: datetime | None = None


class TranscriptEventOutput(BaseModel):
    """One event of a run, as the agent's runner told it; which fields it has follows from its type.

    `job_id` tells the attempts apart. `tool` comes as a call and as its result, with the same `tool_id`. `check` is the
    project's check of the agent's work, in round 2 after a repair; in `finished` it is what the last one came to.
    """

    id: str
    job_id: str
    seq: int
    at: datetime
    type: Literal["started", "message", "tool", "usage", "check", "finished", "failed"]
    text: str | None = None
    message: str | None = None
    reason: str | None = None
    phase: Literal["call", "result"] | None = None
    tool_id: str | None = None
    name: str | None = None
    content: str | None = None
    is_error: bool | None = None
    model: str | None = None
    version: str | None = None
    usage: dict[str, int] | None = None
    turns: int | None = None
    duration_seconds: float | None = None
    changed: bool | None = None
    round: int | None = None
    command: str | None = None
    passed: bool | None = None
    exit_status: int | None = None
    timed_out: bool | None = None
    seconds: float | None = None
    output: str | None = None
    check: Literal["passed", "failed", "timed_out"] | None = None
    repair_failed: str | None = None
