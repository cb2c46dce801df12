"""`POST /v1/egress`: the egress proxy asks whether a job's tools may pass.

The question carries the job's own egress token, so whoever asks learns about that job alone; runners can ask too.
"""

import hmac

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.repository import JobRepository
from sdlc_agents.kernel.clock import now
from sdlc_agents.runs.tokens import digest

QUESTION_BYTES = 4096

log = structlog.get_logger()


class Question(BaseModel):
    """May this job, with this token, reach this host? Without a host: is the token good at all?"""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    job: str = Field(max_length=100)
    token: str = Field(min_length=1, max_length=200, repr=False)
    host: str | None = Field(default=None, min_length=1, max_length=255)


class Egress:
    """Answers the proxy's questions."""

    def __init__(self, jobs: JobRepository, metrics: GatewayMetrics) -> None:
        self._jobs = jobs
        self._metrics = metrics

    async def decide(self, body: bytes) -> bool:
        """Whether the proxy may let this pass. Raises `GatewayError` for what is no question, `UnavailableError`."""
        try:
            question = Question.model_validate_json(body)
        except ValidationError as error:
            raise GatewayError(400, "the body must be an object with job, token and host") from error
        allowed = await self._allows(question)
        self._metrics.egress(allowed=allowed)
        if not allowed:
            log.info("egress_refused", job_id=question.job, host=question.host)
        return allowed

    async def _allows(self, question: Question) -> bool:
        grant = await self._jobs.grant(question.job)
        shown = digest(question.token)
        if grant is None or not hmac.compare_digest(grant.token_sha256, shown) or grant.expires_at <= now():
            return False
        return question.host is None or any(matches(question.host, listed) for listed in grant.hosts)


def matches(host: str, listed: str) -> bool:
    """Whether a host is what is listed: that name, or with a dot before it that name and all below."""
    host = host.lower()
    return host == listed.removeprefix(".") or (listed.startswith(".") and host.endswith(listed))
