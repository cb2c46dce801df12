"""Budgets, the periods that they are for, and what is said when one is spent. Days and months are those of UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

Kind = Literal["project_day", "project_month", "appliance_month"]
Usd = Annotated[float, Field(gt=0, le=1_000_000)]

_WHAT_TO_DO: Mapping[Kind, str] = {
    "project_day": "raise agent.daily_budget_usd of the project (AGENT_DAILY_BUDGET_USD is the most that one may have)",
    "project_month": (
        "raise agent.monthly_budget_usd of the project (AGENT_MONTHLY_BUDGET_USD is the most that one may have)"
    ),
    "appliance_month": "raise LLM_GATEWAY_MONTHLY_BUDGET_USD of the appliance",
}


@dataclass(frozen=True)
class SpendingLimits:
    """USD that may be spent; None where there is no limit."""

    project_day: float | None = None
    project_month: float | None = None
    appliance_month: float | None = None


@dataclass(frozen=True)
class Account:
    """A sum that is kept: of a project (None: of the appliance) in a period."""

    kind: Kind
    project_key: str | None
    begins: datetime

    @property
    def id(self) -> str:
        """Its key in the database: `project:SHOP|2026-11-25`, `appliance|2026-11`."""
        scope = "appliance" if self.project_key is None else f"project:{self.project_key}"
        return f"{scope}|{self.begins:{'%Y-%m-%d' if self.kind == 'project_day' else '%Y-%m'}}"

    @property
    def ends(self) -> datetime:
        """When the next period begins."""
        if self.kind == "project_day":
            return self.begins + timedelta(days=1)
        return (self.begins + timedelta(days=31)).replace(day=1)


@dataclass(frozen=True)
class Budget:
    """An account and its limit."""

    account: Account
    limit_usd: float

    def spent_by(self, used_usd: float) -> bool:
        """Whether nothing is left."""
        return used_usd >= self.limit_usd

    def message(self, used_usd: float) -> str:
        """For people: which budget is spent, when it begins anew, and what to do."""
        account = self.account
        period = "day" if account.kind == "project_day" else "month"
        owner = "the appliance" if account.project_key is None else f"project {account.project_key}"
        return (
            f"the {period}'s budget of {owner} is spent, {used_usd:.4f} of {self.limit_usd:.2f} USD; "
            f"it begins anew at {account.ends:%Y-%m-%d %H:%M} UTC. To go on before, {_WHAT_TO_DO[account.kind]}"
        )


def accounts(project_key: str | None, moment: datetime) -> tuple[Account, ...]:
    """The accounts that a cost of this moment goes to."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    appliance = Account("appliance_month", None, month)
    if project_key is None:
        return (appliance,)
    return Account("project_day", project_key, day), Account("project_month", project_key, month), appliance


def budgets(limits: SpendingLimits, project_key: str | None, moment: datetime) -> tuple[Budget, ...]:
    """The budgets that hold for a project at this moment."""
    found = ((account, getattr(limits, account.kind)) for account in accounts(project_key, moment))
    return tuple(Budget(account, limit) for account, limit in found if limit is not None)


def first_spent(held: tuple[Budget, ...], used: Mapping[str, float]) -> tuple[Budget, float] | None:
    """A budget of which nothing is left, with what was used; `used` is USD by the account's id."""
    for budget in held:
        usd = used.get(budget.account.id, 0.0)
        if budget.spent_by(usd):
            return budget, usd
    return None
