"""The only module of this domain that knows MongoDB.

What a claim changes is said in `developments.changes`; here it is said who may change it, and when. Leases go by the
database's clock alone (`$$NOW`), so the consumers' own clocks may differ.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from sdlc_agents.consumer.claims.claim import Claim, LeaseLostError
from sdlc_agents.developments import changes
from sdlc_agents.developments.model import ENDED, UNDER_WAY, FollowUp, Notice, NoticeState, Outcome, Status
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database, Document, translate_errors
from sdlc_agents.kernel.rights import Action, rights

RIGHTS = rights(Action.FIND, Action.UPDATE, on="developments")

DUE: Document = {
    "status": Status.QUEUED,
    "retry_requested_at": {"$exists": True},
    "$expr": {"$lte": ["$retry_requested_at", "$$NOW"]},
}
_EXPIRED: Document = {"$expr": {"$lt": ["$lease.expires_at", "$$NOW"]}}
_FREE: list[Document] = [{"status": Status.QUEUED}, {"status": Status.RUNNING, **_EXPIRED}]
_ENDED: Document = {"status": {"$in": ENDED}}
_NOTICE_SECONDS = 24 * 60 * 60
_TELLING_SECONDS = 60
_BEHIND_SECONDS = 1
_LOOKS = 100
_OF_A_TICKET = {"status": 1, "jira_issue_key": 1}


class ClaimRepository:
    """Claims of developments, and what is written under a claim."""

    def __init__(self, db: Database, owner: str, *, lease_seconds: float, queued_grace_seconds: float) -> None:
        self._developments = db["developments"]
        self._owner = owner
        self._lease_seconds = lease_seconds
        self._grace_seconds = queued_grace_seconds

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
        late: Document = {"$expr": {"$lt": ["$created_at", changes.seconds_ago(self._grace_seconds)]}}
        query: Document = {
            "$or": [
                {"status": {"$in": UNDER_WAY}, "lease.expires_at": {"$type": "date"}, **_EXPIRED},
                {"status": Status.QUEUED, "lease.expires_at": None, "retry_requested_at": None, **late},
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
        await self._write(claim, changes.renewed(self._lease_seconds))

    async def note(self, claim: Claim, change: Document) -> None:
        """Note what `developments.changes` says of a run that goes on, and renew. Raises `LeaseLostError`."""
        await self._write(claim, {**change, **changes.renewed(self._lease_seconds)})

    async def finish(self, claim: Claim, outcome: Outcome, notices: Sequence[Notice]) -> None:
        """End the development. `notices` are who is to be told."""
        await self._write(claim, changes.finished(outcome, notices))
        # Without this they would be looked at a little later.
        with suppress(UnavailableError):
            await self._put_off(claim.jira_issue_key, 0)

    async def hand_back(self, claim: Claim) -> None:
        """Leave the development to whoever comes next; this attempt does not count."""
        await self._write(claim, changes.handed_back())

    async def take_untold(self) -> Document | None:
        """A development of which somebody is still to be told; None when there is none.

        It began, and runs (`notices.started`), or it ended lately (`notices.ticket`, `.error_queue`,
        `.pull_request`). Nobody else is given it until it is put back with `told`, or until so long that its
        teller must be gone.
        """
        with translate_errors():
            return await self._developments.find_one_and_update(
                untold(),
                [{"$set": changes.being_told(_TELLING_SECONDS)}],
                sort=[("notice_after", 1), ("_id", 1)],
                return_document=ReturnDocument.AFTER,
            )

    async def told(self, document: Document, results: Mapping[Notice, NoticeState], *, again_in: float = 0) -> None:
        """Put back what `take_untold` gave.

        `results` says by notice that somebody was told or does not want to be; what is not in it stays pending and is
        taken again after so many seconds. What began or ended anew meanwhile stays to be told.
        """
        about: Document = {"_id": document["_id"], "lease.fence": document["lease"]["fence"]}
        mine: Document = {"_id": document["_id"], "notice_after": document["notice_after"]}
        with translate_errors():
            for notice, result in results.items():
                pending = changes.told(notice, NoticeState.PENDING)
                await self._developments.update_one(about | pending, {"$set": changes.told(notice, result)})
            await self._developments.update_one(mine, [changes.told_for_now(again_in)])

    async def _claim_of_ticket(self, found: Document) -> Claim | None:
        """Take what was found, or an older one of its ticket; what of the ticket is left to wait is looked at later."""
        key, first = found["jira_issue_key"], found
        if found["status"] == Status.QUEUED:
            first = await self._oldest_queued(key) or found
        try:
            claim = await self._claim(first["_id"])
        except DuplicateKeyError:
            claim = None
        if claim is None or first["_id"] != found["_id"]:
            await self._put_off(key, _BEHIND_SECONDS)
        return claim

    async def _oldest_queued(self, jira_issue_key: str) -> Document | None:
        query: Document = {"jira_issue_key": {"$eq": jira_issue_key}, "status": Status.QUEUED}
        with translate_errors():
            return await self._developments.find_one(query, _OF_A_TICKET, sort=[("created_at", 1), ("_id", 1)])

    async def _put_off(self, jira_issue_key: str, seconds: float) -> None:
        """Let what is queued of a ticket be looked at in so many seconds; in none only what has waited already."""
        query: Document = {"jira_issue_key": {"$eq": jira_issue_key}, "status": Status.QUEUED}
        if not seconds:
            query["retry_requested_at"] = {"$exists": True}
        with translate_errors():
            await self._developments.update_many(query, [{"$set": changes.put_off(seconds)}])

    async def _claim(self, development_id: str) -> Claim | None:
        """Take it if it is free. Raises `DuplicateKeyError` while another one of its ticket runs."""
        with translate_errors():
            document = await self._developments.find_one_and_update(
                {"_id": development_id, "$or": _FREE},
                changes.taken(self._owner, self._lease_seconds),
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
            "status": Status.RUNNING,
            "lease.owner": self._owner,
            "lease.fence": claim.fence,
        }


def untold() -> Document:
    """Of which developments somebody is to be told now. Asked each second: each part has a small index of its own."""
    at_rest: Document = {"$lte": ["$notice_after", "$$NOW"]}
    lately: Document = {"$gt": ["$completed_at", changes.seconds_ago(_NOTICE_SECONDS)]}
    ended: Document = {**_ENDED, "$expr": {"$and": [at_rest, lately]}}
    of_an_end = (Notice.ERROR_QUEUE, Notice.TICKET, Notice.PULL_REQUEST)
    return {
        "$or": [
            *({**changes.told(notice, NoticeState.PENDING), **ended} for notice in of_an_end),
            {**changes.start_to_be_told(), "status": Status.RUNNING, "$expr": at_rest},
        ]
    }


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
        follow_up=FollowUp.of_document(document),
    )
