"""Developments as the API shows them; the lease and other inner fields stay inside."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel


class DevelopmentOutput(BaseModel):
    """A development.

    `outcome` is the kind of its end, `attempts` how often it was begun, `timings` when each step was reached, `usage`
    the tokens by kind.
    """

    id: str
    status: str
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    summary: str = ""
    description: str = ""
    repository_url: str | None = None
    branch_name: str | None = None
    pr_mr_url: str | None = None
    prompt: str = ""
    development_details: str | None = None
    outcome: str | None = None
    error_message: str | None = None
    attempts: int = 0
    cost_usd: float | None = None
    usage: dict[str, Any] | None = None
    turns: int | None = None
    duration_seconds: float | None = None
    timings: dict[str, datetime | None] = {}
    created_at: datetime
    completed_at: datetime | None = None
