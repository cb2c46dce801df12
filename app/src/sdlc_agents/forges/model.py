"""What all providers speak of."""

from dataclasses import dataclass
from enum import StrEnum

from sdlc_agents.errors import ServiceError


class ForgeError(ServiceError):
    """The forge refused, or cannot be used; the message says what a person can do about it."""

    status = 502
    code = "forge_failed"


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
    ARCHIVED = "archived"
    PULL_REQUESTS_OFF = "pull_requests_off"
    BASE_BRANCH_MISSING = "base_branch_missing"


@dataclass(frozen=True)
class Problem:
    """One reason, and a sentence that says what a person can do about it."""

    code: ProblemCode
    message: str
