"""What a development is asked, and how it may end."""

from dataclasses import dataclass, field
from typing import Literal

from sdlc_agents.kernel.errors import ServiceError


class RunFailedError(ServiceError):
    """The run cannot succeed; the message is for the ticket's people and says what they can do."""

    code = "run_failed"

    def __init__(self, message: str, *, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


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


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for the document, the ticket and the metrics. `kind` is a stable word for why.

    `cost_usd` and `usage` are those of all attempts, `attempt_cost_usd` is this one's.
    """

    status: Literal["completed", "failed", "cancelled"]
    kind: str
    error_message: str | None = None
    pr_mr_url: str | None = None
    details: str | None = None
    turns: int = 0
    duration_seconds: float = 0.0
    cost_usd: float = 0.0
    attempt_cost_usd: float = 0.0
    usage: dict[str, int] = field(default_factory=dict)
