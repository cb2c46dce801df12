"""What people read about a run: the pull request's body and the ticket's comment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdlc_agents.agent.development import Claim

_SUMMARY_CHARACTERS = 6000
_ZERO_WIDTH = "\u200b"


@dataclass(frozen=True)
class Figures:
    """What a run took."""

    turns: int
    seconds: float
    cost_usd: float
    model: str


def pull_request_body(claim: Claim, figures: Figures, *, ticket_url: str | None, summary: str, changes: str) -> str:
    """Markdown. The agent's own words are quoted as such; they notify nobody."""
    issue_key = claim.jira_issue_key
    ticket = f"[{issue_key}]({ticket_url})" if ticket_url else issue_key
    said = harmless(summary.strip())[:_SUMMARY_CHARACTERS] or "(the agent left no summary)"
    return f"""\
Ticket: {ticket}

{said}

---
{changes} · {figures.turns} turns · {duration(figures.seconds)} · {cost(figures.cost_usd)} · {figures.model}

Written by the SDLC AI Agents (development `{claim.development_id}`). Review it as you would a colleague's work.
"""


def ticket_comment(document: Mapping[str, Any], marker: str) -> str:
    """Plain text for the ticket, from the ended development."""
    figures = (
        f"Cost: {cost(document.get('cost_usd') or 0)} | Duration: {duration(document.get('duration_seconds') or 0)}"
        f" | Turns: {document.get('turns') or 0}"
    )
    if document["status"] == "completed":
        did = "changed what was asked for in the" if document.get("kind") == "follow_up" else "opened a"
        first = f"The SDLC AI Agents {did} pull request: {document['pr_mr_url']}"
    elif document["status"] == "cancelled":
        first = f"The SDLC AI Agents stopped working on this ticket: {harmless(document['error_message'])}"
    else:
        first = f"The SDLC AI Agents could not finish this ticket: {document.get('error_message') or 'no reason known'}"
    return f"{first}\n\n{figures}\n{marker}"


def duration(seconds: float) -> str:
    """`1 h 2 min`, `3 min 4 s`, `5 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def cost(usd: float) -> str:
    """`0.0123 USD`; whole cents where there are some."""
    return f"{usd:.4f} USD" if usd < 1 else f"{usd:.2f} USD"


def harmless(text: str) -> str:
    """Without effects beyond the text: no mention notifies anyone."""
    return text.replace("@", f"@{_ZERO_WIDTH}")
