"""What a version changes in the documents that are there already. Each step may run again, and beside the services."""

from collections.abc import Awaitable, Callable, Mapping

from sdlc_agents.kernel.mongo import Database, Document
from sdlc_agents.kernel.rights import Action, rights, together

RIGHTS = together(
    rights(Action.UPDATE, on="projects"),
    rights(Action.UPDATE, on="agent_events"),
    rights(Action.FIND, Action.UPDATE, on="developments"),
    rights(Action.UPDATE, on="pull_request_watches"),
)


async def _to_2(db: Database) -> None:
    """Projects count their changes, transcripts' events say when they were stored, developments log their attempts."""
    await db["projects"].update_many({"revision": {"$exists": False}}, {"$set": {"revision": 1}})
    await db["agent_events"].update_many(
        {"stored_at": {"$exists": False}}, [{"$set": {"stored_at": {"$toDate": "$_id"}}}]
    )
    attempt = {
        "attempt": "$attempts",
        "outcome": "$outcome",
        "error_message": {"$ifNull": ["$error_message", None]},
        "started_at": {"$ifNull": ["$timings.claimed_at", None]},
        "ended_at": "$completed_at",
        "cost_usd": {"$ifNull": ["$cost_usd", None]},
    }
    await db["developments"].update_many(
        {"status": {"$in": ["completed", "failed"]}, "attempts_log": {"$exists": False}},
        [{"$set": {"attempts_log": [attempt]}}],
    )


async def _to_3(db: Database) -> None:
    """Of a ticket's developments one runs at a time: the one that was claimed last goes on, others are queued again."""
    by_ticket: list[Document] = [
        {"$match": {"status": "running"}},
        {"$sort": {"timings.claimed_at": -1, "_id": -1}},
        {"$group": {"_id": "$jira_issue_key", "ids": {"$push": "$_id"}}},
        {"$match": {"ids.1": {"$exists": True}}},
    ]
    handed_back = {
        "status": "queued",
        "attempts": {"$subtract": [{"$ifNull": ["$attempts", 1]}, 1]},
        "lease.owner": None,
        "lease.expires_at": "$$NOW",
    }
    async for ticket in await db["developments"].aggregate(by_ticket):
        await db["developments"].update_many(
            {"_id": {"$in": ticket["ids"][1:]}, "status": "running"}, [{"$set": handed_back}]
        )


async def _to_4(db: Database) -> None:
    """Pull requests have their number beside their address, which ends with it on every forge.

    `…/pulls/7`, `…/pull/7`, `…/-/merge_requests/7`. One whose address ends otherwise is left without.
    """

    async def number(collection: str, address: str, field: str) -> None:
        ends_with_it = {"$type": "string", "$regex": r"/[0-9]{1,9}/?$"}
        found: Document = {"$regexFind": {"input": f"${address}", "regex": r"/([0-9]{1,9})/?$"}}
        digits: Document = {"$arrayElemAt": [{"$getField": {"field": "captures", "input": found}}, 0]}
        await db[collection].update_many({address: ends_with_it, field: None}, [{"$set": {field: {"$toInt": digits}}}])

    await number("developments", "pr_mr_url", "pr_mr_number")
    await number("pull_request_watches", "_id", "number")


STEPS: Mapping[int, Callable[[Database], Awaitable[None]]] = {2: _to_2, 3: _to_3, 4: _to_4}
"""By the version that a step leads to. A version whose changes are indexes and validators alone has none."""
