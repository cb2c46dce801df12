"""`llm_spending`: one document an account."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pymongo import UpdateOne

from sdlc_agents.kernel.mongo import Database, Session, translate_errors
from sdlc_agents.kernel.rights import Action, rights
from sdlc_agents.spending.budgets import Account, Budget

KEPT = timedelta(days=400)
"""So long is a sum kept after its period, for whoever wants to look back at a year."""
RIGHTS_TO_READ = rights(Action.FIND, on="llm_spending")
RIGHTS_TO_ADD = rights(Action.INSERT, Action.UPDATE, on="llm_spending")


@dataclass(frozen=True)
class Spent:
    """What one answer used, tokens by their names in `usage`, and where it is added up."""

    accounts: tuple[Account, ...]
    used: Mapping[str, int]
    cost_usd: float


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

    async def add(self, spent: Iterable[Spent], session: Session) -> None:
        """Add answers to their accounts, in a transaction."""
        await self._spending.bulk_write(
            [
                UpdateOne(
                    {"_id": account.id},
                    {
                        "$inc": {**_counts(answer.used), "requests": 1, "cost_usd": answer.cost_usd},
                        "$setOnInsert": {"begins_at": account.begins, "expires_at": account.ends + KEPT},
                    },
                    upsert=True,
                )
                for answer in spent
                for account in answer.accounts
            ],
            session=session,
        )


def _counts(used: Mapping[str, int]) -> dict[str, int]:
    return {f"usage.{name}": count for name, count in used.items() if count}
