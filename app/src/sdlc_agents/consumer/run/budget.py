"""The budgets of a run: looked at before it starts, and after it failed, to say which of them was the reason."""

from sdlc_agents.consumer.run.policy import RunPolicy
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.kernel.clock import now
from sdlc_agents.spending.budgets import budgets, first_spent
from sdlc_agents.spending.repository import SpendingRepository

_AGAIN = "; then move the ticket to the trigger status again"
_MAY_BE_THE_BUDGET = {"model_error", "agent_error", "cost_limit"}


async def check_budgets(spending: SpendingRepository, project_key: str, policy: RunPolicy) -> None:
    """Raises `RunFailedError` when a budget that the project's runs share is spent, `UnavailableError`."""
    held = budgets(policy.limits, project_key, now())
    spent = first_spent(held, await spending.used(held))
    if spent is not None:
        budget, used = spent
        raise RunFailedError(budget.message(used) + _AGAIN, outcome="budget_spent")


async def name_spent_budget(
    spending: SpendingRepository, project_key: str, policy: RunPolicy, *, reason: str, run_cost_usd: float
) -> None:
    """After a run failed: raises `RunFailedError` when that is because the gateway refused it for want of money.

    `reason` is what the runner says, which is not to be relied on; `run_cost_usd` what the gateway counted.
    """
    if reason not in _MAY_BE_THE_BUDGET:
        return
    if run_cost_usd >= policy.max_cost_usd:
        raise RunFailedError(
            f"the run has used {run_cost_usd:.4f} of its {policy.max_cost_usd:.2f} USD and was stopped. Make the "
            "ticket smaller, or raise agent.max_cost_usd of the project (at most AGENT_MAX_COST_USD)" + _AGAIN,
            outcome="cost_limit",
        )
    await check_budgets(spending, project_key, policy)
