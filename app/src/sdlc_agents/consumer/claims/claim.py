"""A claimed development, and how it may end."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sdlc_agents.developments.model import FollowUp
from sdlc_agents.kernel.errors import ServiceError

BRANCH_PREFIX = "feature/"
# GitLab and Gitea take 255 characters, GitHub 256.
_TITLE_CHARACTERS = 250
_TURNS_TEXT_AROUND = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


class LeaseLostError(ServiceError):
    """Another consumer holds this development now, or it was ended from elsewhere: write nothing more."""

    status = 409
    code = "lease_lost"


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


@dataclass(frozen=True)
class DevelopmentCost:
    """What a development took: USD and tokens of all attempts, USD of the claim's own."""

    cost_usd: float
    attempt_cost_usd: float
    usage: dict[str, int]


def _unseen(letter: str) -> bool:
    """Whether it is a control character, or one that shows what follows in another order."""
    return unicodedata.category(letter) == "Cc" or unicodedata.bidirectional(letter) in _TURNS_TEXT_AROUND
