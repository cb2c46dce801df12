"""Everything that may happen to a development, as MongoDB's update expressions.

Each function gives the fields of one `$set` stage, or the whole pipeline where that takes more. Times are the
database's (`$$NOW`) where they decide who may act, so that the clocks of several hosts may differ. Which document
changes, and whether it may, is for the repository that makes the change.
https://www.mongodb.com/docs/manual/tutorial/update-documents-with-aggregation-pipeline/
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sdlc_agents.developments.model import Kind, Notice, NoticeState, Outcome, Result, Status
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Document

ATTEMPTS_KEPT = 100
CANCELLED_OUTCOME = "cancelled"

_ATTEMPTS: Document = {"$ifNull": ["$attempts_log", []]}
_NEXT_FENCE: Document = {"$add": [{"$ifNull": ["$lease.fence", 0]}, 1]}
_NO_LEASE: Document = {"lease.owner": None, "lease.expires_at": None}
_OF_AN_END = (
    "outcome",
    "error_message",
    "pr_mr_url",
    "pr_mr_number",
    "development_details",
    "check",
    "turns",
    "duration_seconds",
    "completed_at",
)


def in_seconds(seconds: float) -> Document:
    """So many seconds from now by the database's clock."""
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def seconds_ago(seconds: float) -> Document:
    """So many seconds before now by the database's clock."""
    return {"$subtract": ["$$NOW", int(seconds * 1000)]}


# What a consumer does that holds it, or is about to.


def taken(owner: str, lease_seconds: float) -> list[Document]:
    """Claimed. Where it was running, its consumer was lost, and that attempt is logged."""
    lost = _attempt("consumer_lost", "the consumer that had it was lost", None, ended_at="$lease.expires_at")
    values: Document = {
        "attempts_log": {"$cond": [{"$eq": ["$status", Status.RUNNING]}, lost, _ATTEMPTS]},
        "status": Status.RUNNING,
        "lease.owner": {"$literal": owner},
        "lease.fence": _NEXT_FENCE,
        "lease.expires_at": in_seconds(lease_seconds),
        "attempts": {"$add": [{"$ifNull": ["$attempts", 0]}, 1]},
        "timings.claimed_at": "$$NOW",
    }
    return [{"$set": values}, {"$unset": "retry_requested_at"}]


def renewed(lease_seconds: float) -> Document:
    """Held for another lease."""
    return {"lease.expires_at": in_seconds(lease_seconds)}


def handed_back() -> Document:
    """Left to whoever comes next; this attempt does not count."""
    return {"status": Status.QUEUED, "attempts": {"$subtract": ["$attempts", 1]}, "lease.expires_at": "$$NOW"}


def put_off(seconds: float) -> Document:
    """Queued, and to be looked at in so many seconds."""
    return {"retry_requested_at": in_seconds(seconds), "lease.expires_at": None}


def finished(outcome: Outcome, notices: Iterable[Notice]) -> Document:
    """Ended by its run; `notices` are who is to be told."""
    values = {
        "status": outcome.status,
        "outcome": outcome.kind,
        "error_message": outcome.error_message,
        "pr_mr_url": outcome.pr_mr_url,
        "pr_mr_number": outcome.pr_mr_number,
        "development_details": outcome.details,
        "turns": outcome.turns,
        "duration_seconds": outcome.duration_seconds,
        "cost_usd": outcome.cost_usd,
        "usage": outcome.usage,
        "completed_at": now(),
        "notices": dict.fromkeys(notices, NoticeState.PENDING),
    }
    attempt = _attempt(outcome.kind, outcome.error_message, outcome.attempt_cost_usd, ended_at="$$NOW")
    return {**_literal(values), "attempts_log": attempt, **_NO_LEASE}


# What a run notes while it goes on.


def with_ticket_policy(policy: Mapping[str, Any]) -> Document:
    """What the project wants of the ticket, as it was when the run chose the project."""
    return _literal({"ticket": policy})


def placed(repository_url: str, branch: str) -> Document:
    """The run knows where its work goes; an earlier attempt's error is none of this one's."""
    return _literal({"repository_url": repository_url, "branch_name": branch, "error_message": None})


def start_to_be_told() -> Document:
    """The ticket is to be told that the attempt began."""
    return {f"notices.{Notice.STARTED}": NoticeState.PENDING}


def prompted(prompt: str) -> Document:
    """The agent is asked this; an earlier attempt's check is none of this one's."""
    return _literal({"prompt": prompt, "check": None})


def agent_started(moment: datetime) -> Document:
    """The agent began to work."""
    return {"timings.agent_started_at": moment}


def accepted(result: Result, check: Mapping[str, Any] | None) -> Document:
    """The result may be pushed; `check` is what the project's check said of it."""
    return _literal({"result": result, "check": check})


def published(moment: datetime, agent_finished_at: datetime | None) -> Document:
    """The pull request is open. When the agent finished is not known where an earlier attempt had pushed."""
    values: Document = {"timings.published_at": moment}
    return values if agent_finished_at is None else {**values, "timings.agent_finished_at": agent_finished_at}


# What people do.


def queued_again() -> list[Document]:
    """An ended one is to be tried again. The fence stays, so that it goes on growing; the log keeps its attempts."""
    values: Document = {
        **dict.fromkeys(_OF_AN_END),
        **_NO_LEASE,
        "status": Status.QUEUED,
        "retry_requested_at": "$$NOW",
        "attempts_before": {"$ifNull": ["$attempts", 0]},
        "notices": {"$literal": {}},
        "timings": {"$mergeObjects": [{"accepted_at": "$timings.accepted_at", "retried_at": "$$NOW"}]},
    }
    return [{"$set": values}, {"$unset": ["cancel_requested_at", "cancel_requested_by", "notice_after"]}]


def cancelled(by: str) -> list[Document]:
    """A queued one ends. The fence grows, so that whoever is told of this end is told of it apart from others."""
    told: Document = {Notice.TICKET: NoticeState.PENDING}
    follow_up: Document = {**told, Notice.PULL_REQUEST: NoticeState.PENDING}
    values: Document = {
        **_NO_LEASE,
        **_stop_wanted(by),
        "status": Status.CANCELLED,
        "outcome": CANCELLED_OUTCOME,
        "error_message": {"$literal": cancelled_message(by)},
        "completed_at": "$$NOW",
        "lease.fence": _NEXT_FENCE,
        "notices": {"$cond": [{"$eq": ["$kind", Kind.FOLLOW_UP]}, follow_up, told]},
    }
    return [{"$set": values}, {"$unset": "retry_requested_at"}]


def asked_to_stop(by: str) -> list[Document]:
    """The consumer that holds a running one is to end it."""
    return [{"$set": _stop_wanted(by)}]


def cancelled_message(by: str) -> str:
    """The `error_message` of one that a person ended."""
    return f"cancelled by {by}"


# Who is told.


def being_told(seconds: float) -> Document:
    """One consumer tells of it, and no other does for so long."""
    return {"notice_after": in_seconds(seconds)}


def told(notice: Notice, state: NoticeState) -> Document:
    """Somebody was told, or does not want to be."""
    return {f"notices.{notice}": state}


def told_for_now(again_in: float) -> Document:
    """The stage that puts it back: what is still pending waits for so many seconds, or not at all."""
    return {"$set": being_told(again_in)} if again_in else {"$unset": "notice_after"}


def _stop_wanted(by: str) -> Document:
    return {"cancel_requested_at": "$$NOW", "cancel_requested_by": {"$literal": by}}


def _literal(values: Mapping[str, Any]) -> Document:
    """What others wrote is data: a `$` in it is no expression."""
    return {name: {"$literal": value} for name, value in values.items()}


def _attempt(outcome: str, error_message: str | None, cost_usd: float | None, *, ended_at: str) -> Document:
    """The log of attempts with the one that ends now."""
    attempt = {
        "attempt": "$attempts",
        "outcome": {"$literal": outcome},
        "error_message": {"$literal": error_message},
        "started_at": "$timings.claimed_at",
        "ended_at": ended_at,
        "cost_usd": {"$literal": cost_usd},
    }
    return {"$slice": [{"$concatArrays": [_ATTEMPTS, [attempt]]}, -ATTEMPTS_KEPT]}
