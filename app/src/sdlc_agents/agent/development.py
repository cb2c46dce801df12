"""A claimed development, and how it may end."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sdlc_agents.errors import ServiceError

BRANCH_PREFIX = "feature/"
# GitLab and Gitea take 255 characters, GitHub 256.
_TITLE_CHARACTERS = 250
_TURNS_TEXT_AROUND = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class RunFailedError(ServiceError):
    """The run cannot succeed; the message is for the ticket's people and says what they can do."""

    code = "run_failed"

    def __init__(self, message: str, *, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class LeaseLostError(ServiceError):
    """Another consumer holds this development now, or it was ended from elsewhere: write nothing more."""

    status = 409
    code = "lease_lost"


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
class Claim:
    """A development that this consumer holds. `fence` grows with every claim, and every write carries it.

    `attempt` counts from the first on, `tries` from when a person last had it begun.
    """

    development_id: str
    fence: int
    attempt: int
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    summary: str
    description: str
    components: tuple[dict[str, str], ...] = ()
    tries: int = 1
    accepted_at: datetime | None = None
    result_commit: str | None = None
    """What an earlier attempt was about to push, if one came so far; then the next three are that attempt's."""
    result_turns: int = 0
    result_seconds: float = 0.0
    check: Mapping[str, Any] | None = None
    previous_failure: str | None = None
    """How the attempt before this one ended, if there was one: outcome and message."""
    cancelled_by: str | None = None
    """Who asked for it to be stopped before it was claimed."""
    repository_url: str | None = None
    """Of a follow-up, and of a development that was begun before."""
    follow_up: FollowUp | None = None

    @property
    def branch(self) -> str:
        """The one branch that this ticket's work goes to."""
        return BRANCH_PREFIX + self.jira_issue_key

    @property
    def title(self) -> str:
        """Of the commit and of the pull request: one line, of what can be seen, no longer than forges take."""
        seen = "".join(" " if _unseen(letter) else letter for letter in self.summary)
        title = f"[{self.jira_issue_key}] {' '.join(seen.split())}".strip()
        return title if len(title) <= _TITLE_CHARACTERS else f"{title[: _TITLE_CHARACTERS - 1]}…"

    def message(self) -> dict[str, Any]:
        """The development as the queue's messages describe it."""
        return {
            "jira_issue_id": self.jira_issue_id,
            "jira_issue_key": self.jira_issue_key,
            "jira_project_key": self.jira_project_key,
            "summary": self.summary,
            "description": self.description,
            "development_id": self.development_id,
        }


@dataclass(frozen=True)
class Spent:
    """What a development took: USD and tokens of all attempts, USD of the claim's own."""

    cost_usd: float
    attempt_cost_usd: float
    usage: dict[str, int]


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


def _unseen(letter: str) -> bool:
    """Whether it is a control character, or one that shows what follows in another order."""
    return unicodedata.category(letter) == "Cc" or unicodedata.bidirectional(letter) in _TURNS_TEXT_AROUND
