"""`llm_spending`: one document an account. Rights: the gateway `find`, `insert` and `update`, the consumer `find`."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from pymongo import UpdateOne

from sdlc_agents.mongo import Database, Session, translate_errors
from sdlc_agents.spending.budgets import Account, Budget

KEPT = timedelta(days=400)
"""So long is a sum kept after its period, for whoever wants to look back at a year."""


class SpendingRepository:
    """Reads the sums, and adds to them."""

    def __init__(self, db: Database) -> None:
        self._spending = db["llm_spending"]

    async def used(self, held: Iterable[Budget]) -> dict[str, float]:
        """USD by the account's id. Raises `UnavailableError` without a database."""
        ids = [budget.account.id for budget in held]
        if not ids:
            return {}
        with translate_errors():
            found = await self._spending.find({"_id": {"$in": ids}}, {"cost_usd": 1}).to_list()
        return {str(document["_id"]): float(document["cost_usd"]) for document in found}

    async def add(
        self, accounts: Iterable[Account], used: Mapping[str, int], cost_usd: float, session: Session
    ) -> None:
        """Add one answer to each account, in a transaction."""
        counts: dict[str, Any] = {f"usage.{name}": count for name, count in used.items() if count}
        await self._spending.bulk_write(
            [
                UpdateOne(
                    {"_id": account.id},
                    {
                        "$inc": {**counts, "requests": 1, "cost_usd": cost_usd},
                        "$setOnInsert": {"begins_at": account.begins, "expires_at": account.ends + KEPT},
                    },
                    upsert=True,
                )
                for account in accounts
            ],
            session=session,
        )
