"""The only module of this domain that knows MongoDB.

Rights it needs: `developments` find, update; `projects` find; `agent_jobs` find, insert, update; `agent_events` insert
(and `encryption_keys` find for `FieldCipher`).

Leases go by the database's clock alone (`$$NOW`), so the consumers' own clocks may differ.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import BulkWriteError, DuplicateKeyError

from sdlc_agents.agent.development import Claim, LeaseLostError, Outcome, Spent
from sdlc_agents.clock import now
from sdlc_agents.mongo import Database, Document, translate_errors
from sdlc_agents.runner.protocol import Usage

_RETRIED: Document = {"status": "queued", "retry_requested_at": {"$exists": True}}
_ATTEMPTS: Document = {"$ifNull": ["$attempts_log", []]}
_ATTEMPTS_KEPT = 100
_EXPIRED: Document = {"$expr": {"$lt": ["$lease.expires_at", "$$NOW"]}}
_NOTICES = ("error_queue", "ticket")
_NOTICE_DAYS = 1
_NOTICE_SECONDS = 15
_DUPLICATE_KEY = 11000


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


class DevelopmentRepository:
    """Claims of developments, and what is written under a claim."""

    def __init__(self, db: Database, owner: str, *, lease_seconds: float, queued_grace_seconds: float) -> None:
        self._developments = db["developments"]
        self._owner = owner
        self._lease = _milliseconds(lease_seconds)
        self._grace = _milliseconds(queued_grace_seconds)

    async def exists(self, development_id: str) -> bool:
        """Whether there is such a development."""
        with translate_errors():
            return await self._developments.find_one({"_id": {"$eq": development_id}}, {"_id": 1}) is not None

    async def claim(self, development_id: str) -> Claim | None:
        """Take this development if it is queued, or if whoever had it stopped renewing; None when it is not free."""
        free: list[Document] = [{"status": "queued"}, {"status": "running", **_EXPIRED}]
        return await self._claim({"_id": {"$eq": development_id}, "$or": free})

    async def claim_any(self) -> Claim | None:
        """Take the oldest development that nobody will be told of.

        One whose consumer is gone, one that was handed back or is to be retried, or one that waits longer than its
        message should take.
        """
        late: Document = {"$expr": {"$lt": ["$created_at", {"$subtract": ["$$NOW", self._grace]}]}}
        return await self._claim(
            {
                "$or": [
                    {"status": {"$in": ["running", "queued"]}, "lease.expires_at": {"$type": "date"}, **_EXPIRED},
                    {"status": "queued", "lease.expires_at": None, **late},
                    _RETRIED,
                ]
            }
        )

    async def retry_waits(self) -> bool:
        """Whether a person wants a development to be begun again. Asked each second: the index `retries` is small."""
        with translate_errors():
            return await self._developments.find_one(_RETRIED, {"_id": 1}) is not None

    async def cancelled_by(self, claim: Claim) -> str | None:
        """Who wants this run to be stopped; None while nobody does."""
        query = {**self._held(claim), "cancel_requested_at": {"$ne": None}}
        with translate_errors():
            document = await self._developments.find_one(query, {"cancel_requested_by": 1})
        return None if document is None else _asker(document)

    async def renew(self, claim: Claim) -> None:
        """Keep the claim for another lease; raises `LeaseLostError` when it is gone."""
        await self._write(claim, {"lease.expires_at": {"$add": ["$$NOW", self._lease]}})

    async def note(self, claim: Claim, **fields: Any) -> None:
        """Set fields (dots for inner ones), and renew. Raises `LeaseLostError`."""
        values: Document = {name.replace("__", "."): {"$literal": value} for name, value in fields.items()}
        await self._write(claim, {**values, "lease.expires_at": {"$add": ["$$NOW", self._lease]}})

    async def finish(self, claim: Claim, outcome: Outcome, notices: Sequence[str]) -> None:
        """End the development. `notices` are what is to be told to others, `error_queue` and `ticket`."""
        values = {
            "status": outcome.status,
            "outcome": outcome.kind,
            "error_message": outcome.error_message,
            "pr_mr_url": outcome.pr_mr_url,
            "development_details": outcome.details,
            "turns": outcome.turns,
            "duration_seconds": outcome.duration_seconds,
            "cost_usd": outcome.cost_usd,
            "usage": outcome.usage,
            "completed_at": now(),
            "notices": dict.fromkeys(notices, "pending"),
        }
        literal: Document = {name: {"$literal": value} for name, value in values.items()}
        attempt = _attempt(outcome.kind, outcome.error_message, outcome.attempt_cost_usd, ended_at="$$NOW")
        await self._write(claim, {**literal, "attempts_log": attempt, "lease.owner": None, "lease.expires_at": None})

    async def hand_back(self, claim: Claim) -> None:
        """Leave the development to whoever comes next; this attempt does not count."""
        attempts: Document = {"$subtract": ["$attempts", 1]}
        await self._write(claim, {"status": "queued", "attempts": attempts, "lease.expires_at": "$$NOW"})

    async def pending_notices(self) -> list[tuple[str, Document]]:
        """Developments that ended lately and of which somebody is still to be told: (notice, document)."""
        moment = now()
        query: Document = {
            "status": {"$in": ["completed", "failed", "cancelled"]},
            "completed_at": {"$gt": moment - timedelta(days=_NOTICE_DAYS)},
            "notice_after": {"$not": {"$gt": moment}},
        }
        either: list[Document] = [{f"notices.{name}": "pending"} for name in _NOTICES]
        with translate_errors():
            found = await self._developments.find({**query, "$or": either}).sort("_id", 1).limit(20).to_list()
        return [
            (name, document) for document in found for name in _NOTICES if document["notices"].get(name) == "pending"
        ]

    async def noticed(self, development_id: str, notice: str, result: str) -> None:
        """Note that somebody was told (`done`), or does not want to be (`refused`)."""
        with translate_errors():
            await self._developments.update_one({"_id": development_id}, {"$set": {f"notices.{notice}": result}})

    async def notice_later(self, development_id: str) -> None:
        """Leave what is pending for a while, so that it stands in nobody's way."""
        later = now() + timedelta(seconds=_NOTICE_SECONDS)
        with translate_errors():
            await self._developments.update_one({"_id": development_id}, {"$set": {"notice_after": later}})

    async def _claim(self, query: Document) -> Claim | None:
        lost = _attempt("consumer_lost", "the consumer that had it was lost", None, ended_at="$lease.expires_at")
        taken: Document = {
            "attempts_log": {"$cond": [{"$eq": ["$status", "running"]}, lost, _ATTEMPTS]},
            "status": "running",
            "lease.owner": {"$literal": self._owner},
            "lease.fence": {"$add": [{"$ifNull": ["$lease.fence", 0]}, 1]},
            "lease.expires_at": {"$add": ["$$NOW", self._lease]},
            "attempts": {"$add": [{"$ifNull": ["$attempts", 0]}, 1]},
            "timings.claimed_at": "$$NOW",
        }
        with translate_errors():
            document = await self._developments.find_one_and_update(
                query,
                [{"$set": taken}, {"$unset": "retry_requested_at"}],
                sort=[("_id", 1)],
                return_document=ReturnDocument.AFTER,
            )
        return None if document is None else _to_claim(document)

    async def _write(self, claim: Claim, values: Document) -> None:
        with translate_errors():
            result = await self._developments.update_one(self._held(claim), [{"$set": values}])
        if result.matched_count == 0:
            raise LeaseLostError(f"development {claim.development_id} is not this consumer's any more")

    def _held(self, claim: Claim) -> Document:
        return {
            "_id": claim.development_id,
            "status": "running",
            "lease.owner": self._owner,
            "lease.fence": claim.fence,
        }


class ProjectReader:
    """Reads projects, encrypted tokens included."""

    def __init__(self, db: Database) -> None:
        self._projects = db["projects"]

    async def find(self, jira_project_key: str) -> Document | None:
        """The project of a Jira project; None when none is registered."""
        with translate_errors():
            return await self._projects.find_one({"jira_project_key": {"$eq": jira_project_key}})


class JobRepository:
    """The tokens and budgets of runs, which the gateway reads and counts in."""

    def __init__(self, db: Database) -> None:
        self._jobs = db["agent_jobs"]

    async def open(self, claim: Claim, job_id: str, token: str, *, max_cost_usd: float, expires_at: datetime) -> None:
        """Let a token be used; only its hash is kept. The tokens of earlier attempts end."""
        await self.close(claim)
        # The id is this run's own: where it is there already, an earlier try was stored without an answer.
        with translate_errors(), suppress(DuplicateKeyError):
            await self._jobs.insert_one(
                {
                    "_id": job_id,
                    "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
                    "development_id": claim.development_id,
                    "project_key": claim.jira_project_key,
                    "fence": claim.fence,
                    "max_cost_usd": max_cost_usd,
                    "cost_usd": 0.0,
                    "requests": 0,
                    "usage": {},
                    "created_at": now(),
                    "expires_at": expires_at,
                }
            )

    async def close(self, claim: Claim) -> None:
        """End the tokens of this claim and of those before it, never those of a later one."""
        moment = now()
        with translate_errors():
            await self._jobs.update_many(
                {
                    "development_id": claim.development_id,
                    "fence": {"$lte": claim.fence},
                    "expires_at": {"$gt": moment},
                },
                {"$set": {"expires_at": moment}},
            )

    async def spent(self, claim: Claim) -> Spent:
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
        return Spent(round(total, 6), round(own, 6), usage)


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
            if any(problem["code"] != _DUPLICATE_KEY for problem in (error.details or {}).get("writeErrors", ())):
                raise


def _attempt(outcome: str, error_message: str | None, cost_usd: float | None, *, ended_at: str) -> Document:
    """The log of attempts with the one that ends now, as an expression."""
    attempt = {
        "attempt": "$attempts",
        "outcome": {"$literal": outcome},
        "error_message": {"$literal": error_message},
        "started_at": "$timings.claimed_at",
        "ended_at": ended_at,
        "cost_usd": {"$literal": cost_usd},
    }
    return {"$slice": [{"$concatArrays": [_ATTEMPTS, [attempt]]}, -_ATTEMPTS_KEPT]}


def _asker(document: Document) -> str:
    return str(document.get("cancel_requested_by") or "an operator")


def _to_claim(document: Document) -> Claim:
    result = document.get("result") or {}
    timings = document.get("timings") or {}
    return Claim(
        development_id=document["_id"],
        fence=int(document["lease"]["fence"]),
        attempt=int(document["attempts"]),
        tries=int(document["attempts"]) - int(document.get("attempts_before") or 0),
        jira_issue_id=document["jira_issue_id"],
        jira_issue_key=document["jira_issue_key"],
        jira_project_key=document["jira_project_key"],
        summary=document.get("summary") or "",
        description=document.get("description") or "",
        components=tuple(document.get("components") or ()),
        accepted_at=timings.get("retried_at") or timings.get("accepted_at"),
        result_commit=result.get("commit"),
        result_turns=int(result.get("turns") or 0),
        result_seconds=float(result.get("seconds") or 0),
        cancelled_by=_asker(document) if document.get("cancel_requested_at") is not None else None,
    )
