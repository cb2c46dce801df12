"""What a version changes in the documents that are there already. Each step may run again, and beside the services.

The rights that a step needs are given to the database user of `migrate` in group_vars/all/mongodb.yml.
"""

from collections.abc import Awaitable, Callable, Mapping

from sdlc_agents.mongo import Database


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


STEPS: Mapping[int, Callable[[Database], Awaitable[None]]] = {2: _to_2}
"""By the version that a step leads to. A version whose changes are indexes and validators alone has none."""
