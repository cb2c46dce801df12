"""`agent_jobs`: the tokens of jobs, their budgets and what they have used. Rights: `find` and `update` there."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sdlc_agents.gateway.pricing import Tokens
from sdlc_agents.mongo import Database, translate_errors


@dataclass(frozen=True)
class Job:
    """What the gateway knows of a job."""

    job_id: str
    development_id: str
    expires_at: datetime
    max_cost_usd: float
    cost_usd: float


class JobRepository:
    """Finds jobs and adds up what they use."""

    def __init__(self, db: Database) -> None:
        self._jobs = db["agent_jobs"]

    async def find(self, token: str) -> Job | None:
        """The job of a token; None when no job has it. Raises `UnavailableError` without a database."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        with translate_errors():
            document = await self._jobs.find_one(
                {"token_sha256": digest},
                {"development_id": 1, "expires_at": 1, "max_cost_usd": 1, "cost_usd": 1},
            )
        if document is None:
            return None
        return Job(
            job_id=str(document["_id"]),
            development_id=str(document["development_id"]),
            expires_at=document["expires_at"],
            max_cost_usd=float(document["max_cost_usd"]),
            cost_usd=float(document.get("cost_usd") or 0),
        )

    async def add(self, job_id: str, tokens: Tokens, cost_usd: float) -> None:
        """Count one answer. Raises `UnavailableError` without a database."""
        used = {f"usage.{name}": count for name, count in tokens.model_dump().items() if count}
        with translate_errors():
            await self._jobs.update_one({"_id": job_id}, {"$inc": {**used, "requests": 1, "cost_usd": cost_usd}})
