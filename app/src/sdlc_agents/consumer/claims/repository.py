"""The only module of this domain that knows MongoDB.

Rights it needs: `developments` find, update; `projects` find; `agent_jobs` find, insert, update; `agent_events` insert
(and `encryption_keys` find for `FieldCipher`).

Leases go by the database's clock alone (`$$NOW`), so the consumers' own clocks may differ.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from sdlc_agents.consumer.claims.claim import Claim, LeaseLostError
from sdlc_agents.developments.model import FollowUp, Outcome, ReviewComment
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database, Document, translate_errors

DUE: Document = {
    "status": "queued",
    "retry_requested_at": {"$exists": True},
    "$expr": {"$lte": ["$retry_requested_at", "$$NOW"]},
}
_ATTEMPTS: Document = {"$ifNull": ["$attempts_log", []]}
_ATTEMPTS_KEPT = 100
_EXPIRED: Document = {"$expr": {"$lt": ["$lease.expires_at", "$$NOW"]}}
_FREE: list[Document] = [{"status": "queued"}, {"status": "running", **_EXPIRED}]
_ENDED: Document = {"status": {"$in": ["completed", "failed", "cancelled"]}}
_NOTICE_SECONDS = 24 * 60 * 60
_TELLING_SECONDS = 60
_BEHIND_SECONDS = 1
_LOOKS = 100
_OF_A_TICKET = {"status": 1, "jira_issue_key": 1}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


class ClaimRepository:
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
        """Take this development if it is queued, or if whoever had it stopped renewing; None when it is not free.

        Of a ticket's queued developments the oldest is taken, whichever was asked for. While another one of the ticket
        runs, none is: they wait, and `claim_any` looks at them again.
        """
        with translate_errors():
            found = await self._developments.find_one({"_id": {"$eq": development_id}, "$or": _FREE}, _OF_A_TICKET)
        return None if found is None else await self._claim_of_ticket(found)

    async def claim_any(self) -> Claim | None:
        """Take the oldest development that nobody will be told of.

        One whose consumer is gone, one that was handed back, is to be retried or waits for its ticket's earlier run, or
        one that waits longer than its message should take.
        """
        late: Document = {"$expr": {"$lt": ["$created_at", {"$subtract": ["$$NOW", self._grace]}]}}
        query: Document = {
            "$or": [
                {"status": {"$in": ["running", "queued"]}, "lease.expires_at": {"$type": "date"}, **_EXPIRED},
                {"status": "queued", "lease.expires_at": None, "retry_requested_at": None, **late},
                DUE,
            ]
        }
        # What cannot be taken yet is put off, and so not found again by the next look.
        for _ in range(_LOOKS):
            with translate_errors():
                found = await self._developments.find_one(query, _OF_A_TICKET, sort=[("_id", 1)])
            if found is None:
                return None
            claim = await self._claim_of_ticket(found)
            if claim is not None:
                return claim
        return None

    async def one_is_due(self) -> bool:
        """Whether a development is to be begun that no message tells of: a person wants it again, or it has waited.

        Asked each second: the index `retries` is small.
        """
        with translate_errors():
            return await self._developments.find_one(DUE, {"_id": 1}) is not None

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
        """End the development. `notices` are who is to be told: `error_queue`, `ticket`, `pull_request`."""
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
        # Without this they would be looked at a little later.
        with suppress(UnavailableError):
            await self._put_off(claim.jira_issue_key, 0)

    async def hand_back(self, claim: Claim) -> None:
        """Leave the development to whoever comes next; this attempt does not count."""
        attempts: Document = {"$subtract": ["$attempts", 1]}
        await self._write(claim, {"status": "queued", "attempts": attempts, "lease.expires_at": "$$NOW"})

    async def take_untold(self) -> Document | None:
        """A development of which somebody is still to be told; None when there is none.

        It began, and runs (`notices.started`), or it ended lately (`notices.ticket`, `.error_queue`,
        `.pull_request`). Nobody else is given it until it is put back with `told`, or until so long that its
        teller must be gone.
        """
        taken: Document = {"notice_after": {"$add": ["$$NOW", _milliseconds(_TELLING_SECONDS)]}}
        with translate_errors():
            return await self._developments.find_one_and_update(
                untold(),
                [{"$set": taken}],
                sort=[("notice_after", 1), ("_id", 1)],
                return_document=ReturnDocument.AFTER,
            )

    async def told(self, document: Document, results: Mapping[str, str], *, again_in: float = 0) -> None:
        """Put back what `take_untold` gave.

        `results` says by notice that somebody was told (`done`) or does not want to be (`refused`); what is not in it
        stays pending and is taken again after so many seconds. What began or ended anew meanwhile stays to be told.
        """
        about: Document = {"_id": document["_id"], "lease.fence": document["lease"]["fence"]}
        mine: Document = {"_id": document["_id"], "notice_after": document["notice_after"]}
        later: Document = {"notice_after": {"$add": ["$$NOW", _milliseconds(again_in)]}}
        with translate_errors():
            for notice, result in results.items():
                pending = {f"notices.{notice}": "pending"}
                await self._developments.update_one(about | pending, {"$set": {f"notices.{notice}": result}})
            await self._developments.update_one(mine, [{"$set": later} if again_in else {"$unset": "notice_after"}])

    async def _claim_of_ticket(self, found: Document) -> Claim | None:
        """Take what was found, or an older one of its ticket; what of the ticket is left to wait is looked at later."""
        key, first = found["jira_issue_key"], found
        if found["status"] == "queued":
            first = await self._oldest_queued(key) or found
        try:
            claim = await self._claim(first["_id"])
        except DuplicateKeyError:
            claim = None
        if claim is None or first["_id"] != found["_id"]:
            await self._put_off(key, _BEHIND_SECONDS)
        return claim

    async def _oldest_queued(self, jira_issue_key: str) -> Document | None:
        query: Document = {"jira_issue_key": {"$eq": jira_issue_key}, "status": "queued"}
        with translate_errors():
            return await self._developments.find_one(query, _OF_A_TICKET, sort=[("created_at", 1), ("_id", 1)])

    async def _put_off(self, jira_issue_key: str, seconds: float) -> None:
        """Let what is queued of a ticket be looked at in so many seconds; in none only what has waited already."""
        query: Document = {"jira_issue_key": {"$eq": jira_issue_key}, "status": "queued"}
        if not seconds:
            query["retry_requested_at"] = {"$exists": True}
        due: Document = {"$add": ["$$NOW", _milliseconds(seconds)]}
        with translate_errors():
            await self._developments.update_many(
                query, [{"$set": {"retry_requested_at": due, "lease.expires_at": None}}]
            )

    async def _claim(self, development_id: str) -> Claim | None:
        """Take it if it is free. Raises `DuplicateKeyError` while another one of its ticket runs."""
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
                {"_id": development_id, "$or": _FREE},
                [{"$set": taken}, {"$unset": "retry_requested_at"}],
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


def untold() -> Document:
    """Of which developments somebody is to be told now. Asked each second: each part has a small index of its own."""
    at_rest: Document = {"$lte": ["$notice_after", "$$NOW"]}
    lately: Document = {"$gt": ["$completed_at", {"$subtract": ["$$NOW", _milliseconds(_NOTICE_SECONDS)]}]}
    ended: Document = {**_ENDED, "$expr": {"$and": [at_rest, lately]}}
    return {
        "$or": [
            {"notices.error_queue": "pending", **ended},
            {"notices.ticket": "pending", **ended},
            {"notices.pull_request": "pending", **ended},
            {"notices.started": "pending", "status": "running", "$expr": at_rest},
        ]
    }


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


def _previous_failure(attempts: Sequence[Document]) -> str | None:
    last = attempts[-1] if attempts else None
    return f"{last['outcome']}: {last['error_message']}" if last and last.get("error_message") else None


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
        check=document.get("check"),
        previous_failure=_previous_failure(document.get("attempts_log") or ()),
        result_turns=int(result.get("turns") or 0),
        result_seconds=float(result.get("seconds") or 0),
        cancelled_by=_asker(document) if document.get("cancel_requested_at") is not None else None,
        repository_url=document.get("repository_url"),
        follow_up=_to_follow_up(document.get("follow_up")),
    )


def _to_follow_up(document: Document | None) -> FollowUp | None:
    if document is None:
        return None
    comments = tuple(ReviewComment(**comment) for comment in document["comments"])
    return FollowUp(**{**document, "comments": comments})
