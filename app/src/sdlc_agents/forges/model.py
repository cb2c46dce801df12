"""What all providers speak of, and what each of them can do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from sdlc_agents.git.command import Credentials
from sdlc_agents.kernel.errors import ServiceError


class ForgeKind(StrEnum):
    """The software of a forge. Forgejo is `gitea`."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


class ForgeError(ServiceError):
    """The forge refused, or cannot be used; the message says what a person can do about it.

    `problem` is what a check of the repository calls it, where that is known.
    """

    status = 502
    code = "forge_failed"

    def __init__(self, message: str, *, problem: "ProblemCode | None" = None) -> None:
        super().__init__(message)
        self.problem = problem


class ForgeUnavailableError(ForgeError):
    """The forge does not answer now; the same call may succeed later."""

    code = "forge_unavailable"


@dataclass(frozen=True)
class PullRequest:
    """A pull request; `created` says whether this call opened it."""

    number: int
    url: str
    created: bool


class ProblemCode(StrEnum):
    """Why a repository cannot be worked on."""

    FORGE_UNSUPPORTED = "forge_unsupported"
    FORGE_UNREACHABLE = "forge_unreachable"
    EGRESS_REFUSED = "egress_refused"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    FORGE_FAILED = "forge_failed"
    TOKEN_UNREADABLE = "token_unreadable"  # noqa: S105 - a code
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - a code
    REPOSITORY_NOT_FOUND = "repository_not_found"
    NO_READ_RIGHT = "no_read_right"
    NO_PUSH_RIGHT = "no_push_right"
    NO_PULL_REQUEST_RIGHT = "no_pull_request_right"
    NO_REVIEW_RIGHT = "no_review_right"
    ARCHIVED = "archived"
    PULL_REQUESTS_OFF = "pull_requests_off"
    BASE_BRANCH_MISSING = "base_branch_missing"


@dataclass(frozen=True)
class Problem:
    """One reason, and a sentence that says what a person can do about it."""

    code: ProblemCode
    message: str


@dataclass(frozen=True)
class PullRequestText:
    """A pull request as it is to be opened. `reviewers` are user names; one that the forge refuses is left out."""

    branch: str
    base: str
    title: str
    body: str
    draft: bool = False
    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comment:
    """What somebody said on a pull request. `id` is unique on that pull request, and sorts nothing.

    `requests_changes` is true for a review that asks for changes; `path` and `line` are set for one on a line of code.
    """

    id: str
    author: str
    body: str
    at: datetime
    requests_changes: bool = False
    path: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Conversation:
    """A pull request's state, its branch's head, and what was said on it, oldest first.

    `bot` is the user name of the token's owner, who must never answer itself. `rests_until` is set when so little of
    the forge's rate limit is left that nobody should look before.
    """

    open: bool
    head_commit: str
    bot: str
    comments: tuple[Comment, ...]
    rests_until: datetime | None = None


class Forge(Protocol):
    """One repository on a forge, as the owner of a token sees it.

    Every call raises `ForgeUnavailableError` when asking again may help (it is safe to), `ForgeError` otherwise, with a
    message that names the right that the token lacks, where that is why.
    """

    @property
    def clone_url(self) -> str:
        """Where git fetches and pushes."""

    @property
    def credentials(self) -> Credentials:
        """What git is to say there."""

    async def ensure_pull_request(self, text: PullRequestText) -> PullRequest:
        """The open pull request from the branch into its base, opened now unless there is one."""

    async def conversation(self, number: int) -> Conversation:
        """What was said on a pull request."""

    async def comment(self, number: int, body: str, marker: str) -> None:
        """Say something on a pull request, unless the bot (nobody else counts) said something with this marker there.

        `marker` is an HTML comment, which people do not see; it is appended to `body`.
        """

    async def check(self, base_branch: str | None, *, follow_ups: bool = False) -> list[Problem]:
        """What keeps the agents from working there (token, rights, base branch); nothing is written. Never raises.

        With `follow_ups` also what keeps them from reading and answering reviews (`NO_REVIEW_RIGHT`).
        """
