"""What a ticket is told, in plain text."""

from collections.abc import Mapping
from typing import Any

from sdlc_agents.consumer.reporting.check_result import check_sentence
from sdlc_agents.consumer.reporting.links import ConfigurationApi, development_path
from sdlc_agents.developments.model import Kind, Status
from sdlc_agents.runs.figures import cost, duration
from sdlc_agents.runs.harmless import harmless


def start_comment(document: Mapping[str, Any], marker: str, api: ConfigurationApi, remark: str | None = None) -> str:
    """Plain text for the ticket whose run began."""
    attempt = f" (attempt {document['attempts']})" if document["attempts"] > 1 else ""
    where = f"{document['repository_url']} on branch {document['branch_name']}"
    lines = [
        f"The SDLC AI Agents began to work on this ticket{attempt}, in {where}.",
        f"To stop it: {api.call('POST', development_path(document['_id'], 'cancel'))}",
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
    retry = api.call("POST", development_path(document["_id"], "retry"))
    again = f"retry it ({retry}), or move the ticket to the trigger status again"
    if document["status"] == Status.COMPLETED:
        did = "changed what was asked for in the" if document.get("kind") == Kind.FOLLOW_UP else "opened a"
        lines = [f"The SDLC AI Agents {did} pull request: {document['pr_mr_url']}"]
        if check := document.get("check"):
            lines.append(f"Checks: {check_sentence(check)}")
    elif document["status"] == Status.CANCELLED:
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
