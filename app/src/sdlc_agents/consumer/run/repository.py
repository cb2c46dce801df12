"""What a run keeps in MongoDB beside its development: its tokens and budgets, and its transcript."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from pymongo.errors import BulkWriteError, DuplicateKeyError

from sdlc_agents.consumer.claims.claim import Claim, DevelopmentCost
from sdlc_agents.consumer.run.policy import RunPolicy
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import DUPLICATE_KEY, Database, Document, translate_errors
from sdlc_agents.kernel.rights import Action, rights
from sdlc_agents.runs.protocol import JobRequest, Usage
from sdlc_agents.runs.tokens import digest

RIGHTS_TO_JOBS = rights(Action.FIND, Action.INSERT, Action.UPDATE, on="agent_jobs")
RIGHTS_TO_TRANSCRIPTS = rights(Action.INSERT, on="agent_events")


class JobTokenRepository:
    """The tokens and budgets of runs, which the gateway reads and counts in."""

    def __init__(self, db: Database) -> None:
        self._jobs = db["agent_jobs"]

    async def open(self, claim: Claim, job: JobRequest, policy: RunPolicy, *, expires_at: datetime) -> None:
        """Let a job's tokens be used; only their hashes are kept. The tokens of earlier attempts end."""
        # The id is this run's own: where it is there already, an earlier try was stored without an answer.
        await self._close(claim, {"_id": {"$ne": job.job_id}})
        with translate_errors(), suppress(DuplicateKeyError):
            await self._jobs.insert_one(
                {
                    "_id": job.job_id,
                    "token_sha256": digest(job.job_token),
                    "egress_sha256": None if job.egress_token is None else digest(job.egress_token),
                    "egress_hosts": list(policy.agent.egress_hosts),
                    "development_id": claim.development_id,
                    "project_key": claim.jira_project_key,
                    "fence": claim.fence,
                    "max_cost_usd": policy.max_cost_usd,
                    "daily_budget_usd": policy.limits.project_day,
                    "monthly_budget_usd": policy.limits.project_month,
                    "cost_usd": 0.0,
                    "requests": 0,
                    "usage": {},
                    "created_at": now(),
                    "expires_at": expires_at,
                }
            )

    async def close(self, claim: Claim) -> None:
        """End the tokens of this claim and of those before it, never those of a later one."""
        await self._close(claim, {})

    async def _close(self, claim: Claim, which: Document) -> None:
        moment = now()
        with translate_errors():
            await self._jobs.update_many(
                {
                    **which,
                    "development_id": claim.development_id,
                    "fence": {"$lte": claim.fence},
                    "expires_at": {"$gt": moment},
                },
                {"$set": {"expires_at": moment}},
            )

    async def spent(self, claim: Claim) -> DevelopmentCost:
        """What the claim's development took, as the gateway counted it."""
        usage = dict.fromkeys(Usage.model_fields, 0)
        total = own = 0.0
        query = {"development_id": claim.development_id}
        with translate_errors():
            async for job in self._jobs.find(query, {"cost_usd": 1, "usage": 1, "fence": 1}):
                cost = float(job.get("cost_usd") or 0)
                total += cost
                own += cost if job.get("fence") == claim.fence else 0.0
                for name in usage:
                    usage[name] += int((job.get("usage") or {}).get(name) or 0)
        return DevelopmentCost(round(total, 6), round(own, 6), usage)


class TranscriptRepository:
    """The events of runs."""

    def __init__(self, db: Database) -> None:
        self._events = db["agent_events"]

    async def add(self, documents: Sequence[Document]) -> None:
        """Keep some events, unless they are there already."""
        try:
            with translate_errors():
                await self._events.insert_many([dict(document) for document in documents], ordered=False)
        except BulkWriteError as error:
            if any(problem["code"] != DUPLICATE_KEY for problem in (error.details or {}).get("writeErrors", ())):
                raise
