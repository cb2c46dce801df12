"""A project's policy lowers the appliance's limits and never raises them."""

from typing import Any

import pytest

from sdlc_agents.consumer.run.policy import RunPolicy
from sdlc_agents.consumer.settings import ConsumerSettings
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.spending.budgets import SpendingLimits
from support.backends import MakeSettings


@pytest.fixture
def settings(make_settings: MakeSettings) -> ConsumerSettings:
    return make_settings(
        ConsumerSettings,
        agent_runner_urls=("http://runner:1",),
        llm_gateway_url="http://gateway:1",
        agent_tools=("Read", "Edit", "Bash"),
        agent_max_turns=50,
        agent_timeout_seconds=600,
        agent_max_cost_usd=2,
    )


def policy(settings: ConsumerSettings, **agent: Any) -> RunPolicy:
    return RunPolicy.of({"agent": agent}, settings)


def test_a_project_without_a_policy_has_the_appliances(settings: ConsumerSettings) -> None:
    held = RunPolicy.of({}, settings)
    assert (held.tools, held.model) == (("Read", "Edit", "Bash"), settings.agent_model)
    assert (held.max_turns, held.timeout_seconds, held.max_cost_usd) == (50, 600, 2)
    assert (held.agent.egress_hosts, held.pull_requests.follow_up_by) == ([], [])


def test_limits_are_lowered(settings: ConsumerSettings) -> None:
    held = policy(settings, max_turns=5, timeout_seconds=60, max_cost_usd=0.5, model="claude-haiku-4-5")
    assert (held.max_turns, held.timeout_seconds, held.max_cost_usd, held.model) == (5, 60, 0.5, "claude-haiku-4-5")


def test_limits_are_not_raised(settings: ConsumerSettings) -> None:
    held = policy(settings, max_turns=500, timeout_seconds=6000, max_cost_usd=20)
    assert (held.max_turns, held.timeout_seconds, held.max_cost_usd) == (50, 600, 2)


def test_budgets_are_lowered_and_not_raised(make_settings: MakeSettings, settings: ConsumerSettings) -> None:
    given = settings.model_dump() | {"agent_daily_budget_usd": 20.0, "llm_gateway_monthly_budget_usd": 900.0}
    held = make_settings(ConsumerSettings, **given)
    assert RunPolicy.of({}, settings).limits == SpendingLimits()
    assert policy(settings, daily_budget_usd=5).limits == SpendingLimits(project_day=5)
    assert policy(held, monthly_budget_usd=100).limits == SpendingLimits(20, 100, 900)
    assert policy(held, daily_budget_usd=50).limits.project_day == 20
    assert policy(held, daily_budget_usd=2).limits.project_day == 2


def test_tools_are_those_that_both_allow(settings: ConsumerSettings) -> None:
    assert policy(settings, tools=["Write", "Bash", "Read"]).tools == ("Read", "Bash")


def test_no_common_tool_says_which_there_are(settings: ConsumerSettings) -> None:
    with pytest.raises(RunFailedError, match="Read, Edit, Bash"):
        policy(settings, tools=["Write"])


def test_the_projects_check_is_asked_for_where_it_has_one(settings: ConsumerSettings) -> None:
    check = policy(settings, check_command="make test", check_timeout_seconds=90).check
    assert check is not None
    assert (check.command, check.timeout_seconds) == ("make test", 90)
    assert policy(settings).check is None
