"""What a development is: its states, its document's shape, how it begins and how it may end.

A development is one activation of a ticket. It begins by one of the two constructors here, `changes` has everything
that may happen to it afterwards, and no other package spells a state or builds a field of it. The validator in
`sdlc_agents.migrations` is held against `Development` by a test.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.ids import new_id


class Status(StrEnum):
    """How far a development has come. A ticket has at most one that is running."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNDER_WAY = (Status.QUEUED, Status.RUNNING)
WITHOUT_RESULT = (Status.FAILED, Status.CANCELLED)
ENDED = (Status.COMPLETED, *WITHOUT_RESULT)


class Kind(StrEnum):
    """What a development is about: a ticket, or what reviewers asked for on the pull request of an earlier one."""

    TICKET = "ticket"
    FOLLOW_UP = "follow_up"


class Notice(StrEnum):
    """Who is told of a development: the ticket of its start and its end, the error queue, the pull request."""

    STARTED = "started"
    TICKET = "ticket"
    ERROR_QUEUE = "error_queue"
    PULL_REQUEST = "pull_request"


class NoticeState(StrEnum):
    """Whether somebody is still to be told. What was refused is not tried again."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"


class Lease(TypedDict, total=False):
    """Which consumer holds a development, and until when. `fence` grows with every claim."""

    owner: str | None
    fence: int
    expires_at: datetime | None


class Attempt(TypedDict):
    """One attempt that ended, as `attempts_log` keeps it. The cost of one whose consumer was lost is not known."""

    attempt: int
    outcome: str
    error_message: str | None
    started_at: datetime | None
    ended_at: datetime
    cost_usd: float | None


class Timings(TypedDict, total=False):
    """When a development reached each step; of several attempts those of the last one."""

    accepted_at: datetime
    retried_at: datetime
    claimed_at: datetime
    agent_started_at: datetime
    agent_finished_at: datetime
    published_at: datetime


class Result(TypedDict):
    """What an attempt is about to push, so that the next one can go on from there."""

    commit: str
    base: str
    turns: int
    seconds: float


class TicketComponent(TypedDict):
    """A component of the ticket, by which a project's repository is chosen."""

    name: str
    description: str


class Development(TypedDict):
    """A document of `developments`.

    A field that may be missing is one that a later step sets, or one that documents of older releases lack.
    """

    _id: str
    status: Status
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    prompt: str
    created_at: datetime
    # The ticket, and where the work goes.
    kind: NotRequired[Kind]
    follow_up: NotRequired[dict[str, Any]]
    webhook_event_id: NotRequired[str]
    summary: NotRequired[str]
    description: NotRequired[str]
    components: NotRequired[list[TicketComponent]]
    repository_url: NotRequired[str | None]
    branch_name: NotRequired[str | None]
    ticket: NotRequired[dict[str, Any]]
    # The attempt under way and those before it.
    lease: NotRequired[Lease]
    attempts: NotRequired[int]
    attempts_before: NotRequired[int]
    attempts_log: NotRequired[list[Attempt]]
    timings: NotRequired[Timings]
    result: NotRequired[Result]
    check: NotRequired[dict[str, Any] | None]
    retry_requested_at: NotRequired[datetime]
    cancel_requested_at: NotRequired[datetime]
    cancel_requested_by: NotRequired[str]
    # Its end.
    outcome: NotRequired[str | None]
    error_message: NotRequired[str | None]
    pr_mr_url: NotRequired[str | None]
    pr_mr_number: NotRequired[int | None]
    development_details: NotRequired[str | None]
    turns: NotRequired[int | None]
    duration_seconds: NotRequired[float | None]
    cost_usd: NotRequired[float | None]
    usage: NotRequired[dict[str, int]]
    completed_at: NotRequired[datetime | None]
    notices: NotRequired[dict[Notice, NoticeState]]
    notice_after: NotRequired[datetime]


class RunFailedError(ServiceError):
    """The run cannot succeed; the message is for the ticket's people and says what they can do."""

    code = "run_failed"

    def __init__(self, message: str, *, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Ticket:
    """The ticket as it was when it was activated."""

    issue_id: str
    issue_key: str
    project_key: str
    summary: str
    description: str
    components: tuple[TicketComponent, ...] = ()


@dataclass(frozen=True)
class ReviewComment:
    """What somebody who may ask for changes said on a pull request; `path` and `line` where it was on a line."""

    author: str
    body: str
    path: str | None = None
    line: int | None = None
    requests_changes: bool = False


@dataclass(frozen=True)
class FollowUp:
    """What a run after a review is to do: the comments, oldest first, on the pull request of another development."""

    pull_request_number: int
    pull_request_url: str
    of: str
    requested_by: str
    comments: tuple[ReviewComment, ...]

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> "FollowUp | None":
        """The one that stands in a development's document; None in that of a ticket's."""
        kept = document.get("follow_up")
        if kept is None:
            return None
        return cls(**{**kept, "comments": tuple(ReviewComment(**comment) for comment in kept["comments"])})


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for the document, the ticket and the metrics. `kind` is a stable word for why.

    `status` is one of `ENDED`. `cost_usd` and `usage` are those of all attempts, `attempt_cost_usd` is this one's.
    """

    status: Status
    kind: str
    error_message: str | None = None
    pr_mr_url: str | None = None
    pr_mr_number: int | None = None
    details: str | None = None
    turns: int = 0
    duration_seconds: float = 0.0
    cost_usd: float = 0.0
    attempt_cost_usd: float = 0.0
    usage: dict[str, int] = field(default_factory=dict)


def queued_from_ticket(
    development_id: str, ticket: Ticket, *, webhook_event_id: str, accepted_at: datetime
) -> Development:
    """The development that a ticket's activation starts; a message tells the consumers of it."""
    return {
        "_id": development_id,
        "status": Status.QUEUED,
        "jira_issue_id": ticket.issue_id,
        "jira_issue_key": ticket.issue_key,
        "jira_project_key": ticket.project_key,
        "summary": ticket.summary,
        "description": ticket.description,
        "components": list(ticket.components),
        "webhook_event_id": webhook_event_id,
        "repository_url": None,
        "branch_name": None,
        "prompt": "",
        "created_at": accepted_at,
        "timings": {"accepted_at": accepted_at},
    }


def queued_from_review(origin: Mapping[str, Any], follow_up: FollowUp) -> Development:
    """The development that makes the changes which reviewers ask for, on the ticket and the branch of `origin`.

    No message tells of it: consumers find it by its `retry_requested_at`, as they find retries.
    """
    moment = now()
    return {
        "_id": new_id(),
        "status": Status.QUEUED,
        "kind": Kind.FOLLOW_UP,
        "follow_up": asdict(follow_up),
        "jira_issue_id": origin["jira_issue_id"],
        "jira_issue_key": origin["jira_issue_key"],
        "jira_project_key": origin["jira_project_key"],
        "summary": origin.get("summary") or "",
        "description": origin.get("description") or "",
        "components": list(origin.get("components") or ()),
        "repository_url": origin.get("repository_url"),
        "branch_name": origin.get("branch_name"),
        "prompt": "",
        "created_at": moment,
        "retry_requested_at": moment,
        "timings": {"accepted_at": moment},
    }
