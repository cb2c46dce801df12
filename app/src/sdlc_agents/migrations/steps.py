"""What a version changes in the documents that are there already. Each step may run again, and beside the services.

The rights that a step needs are given to the database user of `migrate` in group_vars/all/mongodb.yml.
"""

from collections.abc import Awaitable, Callable, Mapping

from sdlc_agents.kernel.mongo import Database, Document


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


STEPS: Mapping[int, Callable[[Database], Awaitable[None]]] = {2: _to_2, 3: _to_3}
"""By the version that a step leads to. A version whose changes are indexes and validators alone has none."""
