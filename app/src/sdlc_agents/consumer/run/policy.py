"""What a run may do and take: the appliance's limits, lowered by the project's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from sdlc_agents.consumer.settings import ConsumerSettings
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.projects.policies import AgentPolicy, PullRequestPolicy, TicketPolicy
from sdlc_agents.runs.protocol import CheckRequest
from sdlc_agents.spending.budgets import SpendingLimits

_N = TypeVar("_N", int, float)


@dataclass(frozen=True)
class RunPolicy:
    """The policy of one run. SpendingLimits are what holds, none is left open; `limits` are budgets that runs share."""

    tools: tuple[str, ...]
    model: str
    max_turns: int
    timeout_seconds: float
    max_cost_usd: float
    limits: SpendingLimits
    agent: AgentPolicy
    pull_requests: PullRequestPolicy
    ticket: TicketPolicy

    @classmethod
    def of(cls, project: Mapping[str, Any], settings: ConsumerSettings) -> Self:
        """The policy of a project's document. Raises `RunFailedError` when it leaves the agent without a tool."""
        agent = AgentPolicy.model_validate(project.get("agent") or {})
        tools = settings.agent_tools
        if agent.tools is not None:
            tools = tuple(tool for tool in tools if tool in agent.tools)
        if not tools:
            raise RunFailedError(
                "the project's agent.tools leaves the agent without a tool: this appliance allows "
                + ", ".join(settings.agent_tools),
                outcome="no_tools",
            )
        return cls(
            tools=tools,
            model=agent.model or settings.agent_model,
            max_turns=_lower(agent.max_turns, settings.agent_max_turns),
            timeout_seconds=_lower(agent.timeout_seconds, settings.agent_timeout_seconds),
            max_cost_usd=_lower(agent.max_cost_usd, settings.agent_max_cost_usd),
            limits=SpendingLimits(
                _lowest(agent.daily_budget_usd, settings.agent_daily_budget_usd),
                _lowest(agent.monthly_budget_usd, settings.agent_monthly_budget_usd),
                settings.llm_gateway_monthly_budget_usd,
            ),
            agent=agent,
            pull_requests=PullRequestPolicy.model_validate(project.get("pull_requests") or {}),
            ticket=TicketPolicy.model_validate(project.get("ticket") or {}),
        )

    @property
    def check(self) -> CheckRequest | None:
        """The project's own check of a run's work; None where it has none."""
        if self.agent.check_command is None:
            return None
        return CheckRequest(command=self.agent.check_command, timeout_seconds=self.agent.check_timeout_seconds)


def _lower(wanted: _N | None, limit: _N) -> _N:
    return limit if wanted is None else min(wanted, limit)


def _lowest(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
