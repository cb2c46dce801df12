"""The text of a pull request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.reporting.check_result import check_markdown
from sdlc_agents.consumer.reporting.links import ConfigurationApi, development_path
from sdlc_agents.runs.figures import cost, duration
from sdlc_agents.runs.harmless import harmless

_SUMMARY_CHARACTERS = 6000


@dataclass(frozen=True)
class Figures:
    """What a run took."""

    turns: int
    seconds: float
    cost_usd: float
    model: str


def pull_request_body(
    claim: Claim,
    figures: Figures,
    *,
    api: ConfigurationApi,
    ticket_url: str | None,
    summary: str,
    changes: str,
    check: Mapping[str, Any] | None = None,
) -> str:
    """Markdown. The agent's own words are quoted as such; they notify nobody. `check` is that of the development."""
    issue_key = claim.jira_issue_key
    ticket = f"[{issue_key}]({ticket_url})" if ticket_url else issue_key
    said = harmless(summary.strip())[:_SUMMARY_CHARACTERS] or "(the agent left no summary)"
    checks = f"{check_markdown(check)}\n\n" if check else ""
    transcript = api.link("what they did, step by step", development_path(claim.development_id, "transcript"))
    return f"""\
Ticket: {ticket}

{said}

{checks}---
{changes} · {figures.turns} turns · {duration(figures.seconds)} · {cost(figures.cost_usd)} · {figures.model}

Written by the SDLC AI Agents; {transcript}. Review it as you would a colleague's work.
"""
