"""`agent_jobs` and `llm_spending`: tokens, budgets, and what was used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pymongo import UpdateOne

from sdlc_agents.gateway.pricing import Tokens
from sdlc_agents.kernel.mongo import Database, Document, Session, in_transaction, translate_errors
from sdlc_agents.kernel.rights import Action, rights
from sdlc_agents.spending.budgets import Account, Budget, SpendingLimits
from sdlc_agents.spending.repository import SpendingRepository, Spent

RIGHTS = rights(Action.FIND, Action.UPDATE, on="agent_jobs")

_ANSWERS_REMEMBERED = 200
_FIELDS = (
    "token_sha256",
    "development_id",
    "project_key",
    "expires_at",
    "max_cost_usd",
    "cost_usd",
    "daily_budget_usd",
    "monthly_budget_usd",
)


@dataclass(frozen=True)
class Job:
    """What the gateway knows of a job."""

    job_id: str
    token_sha256: str
    development_id: str
    project_key: str | None
    expires_at: datetime
    max_cost_usd: float
    cost_usd: float
    daily_budget_usd: float | None
    monthly_budget_usd: float | None

    def limits(self, appliance_month: float | None) -> SpendingLimits:
        """The budgets that it shares with others."""
        return SpendingLimits(self.daily_budget_usd, self.monthly_budget_usd, appliance_month)

    @property
    def spent(self) -> bool:
        """Whether nothing is left of its own budget."""
        return self.cost_usd >= self.max_cost_usd

    def with_more(self, usd: float) -> "Job":
        """The job when this is spent too."""
        return replace(self, cost_usd=self.cost_usd + usd) if usd else self


@dataclass(frozen=True)
class Answer:
    """What one answer used. `answer_id` is its own, so that it is counted once however often that is tried."""

    answer_id: str
    tokens: Tokens
    cost_usd: float


@dataclass(frozen=True)
class LedgerEntry:
    """An answer with the job and the accounts that it goes to."""

    job: Job
    answer: Answer
    accounts: tuple[Account, ...]

    def counted_in(self) -> tuple[str, ...]:
        """The keys of these: the token's digest for the job, and the accounts' ids."""
        return self.job.token_sha256, *(account.id for account in self.accounts)

    def spent(self) -> Spent:
        """As the accounts take it."""
        return Spent(self.accounts, self.answer.tokens.model_dump(), self.answer.cost_usd)


@dataclass(frozen=True)
class Grant:
    """What a job's tools may reach, and the hash of the token that they show."""

    token_sha256: str
    hosts: tuple[str, ...]
    expires_at: datetime


class JobRepository:
    """Finds jobs and adds up what they use."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._jobs = db["agent_jobs"]
        self._spending = SpendingRepository(db)

    async def find(self, token_sha256: str) -> Job | None:
        """The job of a token; None when no job has it. Raises `UnavailableError` without a database."""
        with translate_errors():
            document = await self._jobs.find_one({"token_sha256": token_sha256}, dict.fromkeys(_FIELDS, 1))
        return None if document is None else _to_job(document)

    async def used(self, budgets: Iterable[Budget]) -> dict[str, float]:
        """What was spent of these budgets. Raises `UnavailableError` without a database."""
        return await self._spending.used(budgets)

    async def add(self, entries: Sequence[LedgerEntry]) -> None:
        """Count answers, each in its job and in its accounts: all of them or none. Those counted before are left out.

        Raises `UnavailableError` without a database: then it may be tried again.
        """

        async def count(session: Session) -> None:
            result = await self._jobs.bulk_write([_counted(entry) for entry in entries], session=session)
            if result.modified_count < len(entries):
                raise _KnownError
            await self._spending.add([entry.spent() for entry in entries], session)

        try:
            await in_transaction(self._db, count)
        except _KnownError:
            # One that is known, or whose job is gone, stands for itself; the others are to be counted.
            if len(entries) > 1:
                for entry in entries:
                    await self.add([entry])

    async def grant(self, job_id: str) -> Grant | None:
        """What the tools of a job may reach; None where nothing. Raises `UnavailableError` without a database."""
        with translate_errors():
            document = await self._jobs.find_one(
                {"_id": {"$eq": job_id}}, {"egress_sha256": 1, "egress_hosts": 1, "expires_at": 1}
            )
        if document is None or not document.get("egress_sha256"):
            return None
        return Grant(document["egress_sha256"], tuple(document["egress_hosts"]), document["expires_at"])


class _KnownError(Exception):
    """An answer was counted before."""


def _counted(entry: LedgerEntry) -> UpdateOne:
    answer = entry.answer
    used = {f"usage.{name}": count for name, count in answer.tokens.model_dump().items() if count}
    return UpdateOne(
        {"_id": entry.job.job_id, "answers": {"$ne": answer.answer_id}},
        {
            "$inc": {**used, "requests": 1, "cost_usd": answer.cost_usd},
            "$push": {"answers": {"$each": [answer.answer_id], "$slice": -_ANSWERS_REMEMBERED}},
        },
    )


def _to_job(document: Document) -> Job:
    return Job(
        job_id=str(document["_id"]),
        token_sha256=str(document["token_sha256"]),
        development_id=str(document["development_id"]),
        project_key=document.get("project_key"),
        expires_at=document["expires_at"],
        max_cost_usd=float(document["max_cost_usd"]),
        cost_usd=float(document.get("cost_usd") or 0),
        daily_budget_usd=document.get("daily_budget_usd"),
        monthly_budget_usd=document.get("monthly_budget_usd"),
    )
