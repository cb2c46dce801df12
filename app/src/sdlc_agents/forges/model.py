"""What all providers speak of."""

from dataclasses import dataclass

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
