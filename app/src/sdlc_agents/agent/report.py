"""What people read about a run: the pull request's body and the ticket's comment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdlc_agents.agent.checked import check_markdown, check_sentence
from sdlc_agents.agent.development import Claim
from sdlc_agents.agent.figures import cost, duration

_SUMMARY_CHARACTERS = 6000
_ZERO_WIDTH = "\u200b"


@dataclass(frozen=True)
class ConfigurationApi:
    """Where people call the configuration API; without its public `url` they are told the path alone."""

    url: str = ""

    def link(self, text: str, path: str) -> str:
        """Markdown."""
        return f"[{text}]({self._at(path)})" if self.url else f"{text}, `{path}` of the configuration API"

    def call(self, method: str, path: str) -> str:
        """A request in plain text."""
        return f"{method} {self._at(path)}" if self.url else f"{method} {path} of the configuration API"

    def _at(self, path: str) -> str:
        return f"{self.url.rstrip('/')}{path}"


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
    transcript = api.link("what they did, step by step", _path(claim.development_id, "transcript"))
    return f"""\
Ticket: {ticket}

{said}

{checks}---
{changes} · {figures.turns} turns · {duration(figures.seconds)} · {cost(figures.cost_usd)} · {figures.model}

Written by the SDLC AI Agents; {transcript}. Review it as you would a colleague's work.
"""


def start_comment(document: Mapping[str, Any], marker: str, api: ConfigurationApi, remark: str | None = None) -> str:
    """Plain text for the ticket whose run began."""
    attempt = f" (attempt {document['attempts']})" if document["attempts"] > 1 else ""
    where = f"{document['repository_url']} on branch {document['branch_name']}"
    lines = [
        f"The SDLC AI Agents began to work on this ticket{attempt}, in {where}.",
        f"To stop it: {api.call('POST', _path(document['_id'], 'cancel'))}",
        *([harmless(remark)] if remark else []),
    ]
    return "\n\n".join(lines) + f"\n\n{marker}"


def ticket_comment(document: Mapping[str, Any], marker: str, api: ConfigurationApi, remark: str | None = None) -> str:
    """Plain text for the ticket, from the ended development."""
    figures = [
        f"Outcome: {document['status']} ({document.get('outcome') or 'unknown'})",
        f"Cost: {cost(document.get('cost_usd') or 0)}",
        f"Duration: {duration(document.get('duration_seconds') or 0)}",
        f"Turns: {document.get('turns') or 0}",
    ]
    if (document.get("attempts") or 0) > 1:
        figures.append(f"Attempts: {document['attempts']}")
    again = (
        f"retry it ({api.call('POST', _path(document['_id'], 'retry'))}), or move the ticket to the trigger status "
        "again"
    )
    if document["status"] == "completed":
        did = "changed what was asked for in the" if document.get("kind") == "follow_up" else "opened a"
        lines = [f"The SDLC AI Agents {did} pull request: {document['pr_mr_url']}"]
        if check := document.get("check"):
            lines.append(f"Checks: {check_sentence(check)}")
    elif document["status"] == "cancelled":
        reason = harmless(document["error_message"])
        lines = [f"The SDLC AI Agents stopped working on this ticket: {reason}", f"To have it done after all, {again}."]
    else:
        reason = harmless(document.get("error_message") or "no reason known")
        lines = [
            f"The SDLC AI Agents could not finish this ticket: {reason}",
            f"When the reason is mended, {again}.",
        ]
    if remark:
        lines.append(harmless(remark))
    return "\n\n".join([*lines, " | ".join(figures)]) + f"\n{marker}"


def _path(development_id: str, what: str) -> str:
    return f"/api/developments/{development_id}/{what}"


def harmless(text: str) -> str:
    """Without effects beyond the text: no mention notifies anyone."""
    return text.replace("@", f"@{_ZERO_WIDTH}")
