"""A claimed development, and how it may end."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sdlc_agents.errors import ServiceError

BRANCH_PREFIX = "feature/"


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
class Claim:
    """A development that this consumer holds. `fence` grows with every claim, and every write carries it."""

    development_id: str
    fence: int
    attempt: int
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    summary: str
    description: str
    components: tuple[dict[str, str], ...] = ()
    accepted_at: datetime | None = None
    result_commit: str | None = None
    """What an earlier attempt was about to push, if one came so far."""

    @property
    def branch(self) -> str:
        """The one branch that this ticket's work goes to."""
        return BRANCH_PREFIX + self.jira_issue_key

    @property
    def title(self) -> str:
        """Of the commit and of the pull request."""
        return f"[{self.jira_issue_key}] {' '.join(self.summary.split())}".strip()

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
class Outcome:
    """How a run ended, for the document, the ticket and the metrics. `kind` is a stable word for why."""

    status: Literal["completed", "failed"]
    kind: str
    error_message: str | None = None
    pr_mr_url: str | None = None
    details: str | None = None
    turns: int = 0
    duration_seconds: float = 0.0
    cost_usd: float = 0.0
    usage: dict[str, int] = field(default_factory=dict)
