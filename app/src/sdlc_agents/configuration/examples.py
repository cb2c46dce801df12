"""One example of every model, as the OpenAPI document shows it. A test holds each against its model."""

from typing import Any

Example = dict[str, Any]

_PROJECT_ID = "66f1a2b3c4d5e6f708192a3b"
_DEVELOPMENT_ID = "66f1a2b3c4d5e6f708192a40"
_KEY_ID = "66f1a2b3c4d5e6f708192a50"

_TRIGGER: Example = {"status": "Ready for AI", "event_kinds": ["jira:issue_updated"]}
_AGENT: Example = {
    "tools": ["Read", "Edit", "Write", "Glob", "Grep", "Bash"],
    "model": "claude-sonnet-5-5",
    "max_turns": 60,
    "timeout_seconds": 1800,
    "max_cost_usd": 2.5,
    "daily_budget_usd": 20,
    "monthly_budget_usd": 200,
    "egress_hosts": ["pypi.org", "files.pythonhosted.org"],
    "check_command": "make test",
    "check_timeout_seconds": 600,
    "submodules": False,
    "lfs": False,
}
_PULL_REQUESTS: Example = {"draft": False, "reviewers": ["kim"], "follow_up_by": ["kim", "sam"]}
_TICKET: Example = {
    "status_when_started": None,
    "status_when_completed": "In Review",
    "status_when_failed": None,
}
_REPOSITORY: Example = {
    "repository_id": "storefront",
    "url": "https://git.example.com/shop/storefront",
    "description": "What customers see",
    "base_branch": "main",
    "forge": "gitea",
}
_PROJECT: Example = {
    "name": "Web shop",
    "description": "The shop of the example company",
    "scope": "Bugs and small features",
    "jira_project_key": "SHOP",
    "jira_project_name": "Web shop",
    "jira_project_url": "https://jira.example.com/browse/SHOP",
    "trigger": _TRIGGER,
    "agent": _AGENT,
    "pull_requests": _PULL_REQUESTS,
    "ticket": _TICKET,
}
_SHOWN_REPOSITORY: Example = {**_REPOSITORY, "git_access_token": "****7f3a"}
_SHOWN_PROJECT: Example = {
    "id": _PROJECT_ID,
    **_PROJECT,
    "repositories": [_SHOWN_REPOSITORY],
    "revision": 3,
    "created_at": "2026-01-31T09:30:00Z",
    "updated_at": "2026-02-03T14:05:00Z",
}
_PROBLEM: Example = {
    "code": "no_push_right",
    "message": "git_access_token may not push to shop/storefront: give its owner write permission there, and the token "
    "the scope write:repository",
}
_CHECKED: Example = {
    "repository_id": "storefront",
    "url": "https://git.example.com/shop/storefront",
    "ok": False,
    "problems": [_PROBLEM],
}
_EVENT: Example = {
    "id": "66f1a2b3c4d5e6f708192a30",
    "development_id": _DEVELOPMENT_ID,
    "delivery_id": "f3a1c0de-0000-4000-8000-5a5a5a5a5a5a",
    "jira_issue_id": "10042",
    "jira_issue_key": "SHOP-42",
    "jira_project_key": "SHOP",
    "summary": "Round prices to cents",
    "description": "The cart shows three decimals.",
    "status": "In Development",
    "previous_status": "To Do",
    "event_type": "jira:issue_updated",
    "state": "published",
    "received_at": "2026-02-03T14:10:00.120Z",
    "processed_at": "2026-02-03T14:10:00.180Z",
}
_ATTEMPT: Example = {
    "attempt": 1,
    "outcome": "pull_request",
    "error_message": None,
    "started_at": "2026-02-03T14:10:00.600Z",
    "ended_at": "2026-02-03T14:13:21Z",
    "cost_usd": 0.42,
}
_WORK_CHECK: Example = {
    "command": "make test",
    "result": "passed",
    "exit_status": 0,
    "seconds": 12.3,
    "round": 2,
    "repair_failed": None,
    "output": "42 passed",
}
_REVIEW_COMMENT: Example = {
    "author": "kim",
    "body": "Round half to even, please.",
    "path": "money.py",
    "line": 12,
    "requests_changes": False,
}
_FOLLOW_UP: Example = {
    "pull_request_number": 7,
    "pull_request_url": "https://git.example.com/shop/storefront/pulls/7",
    "of": "66f1a2b3c4d5e6f708192a2f",
    "requested_by": "kim",
    "comments": [_REVIEW_COMMENT],
}
_DEVELOPMENT: Example = {
    "id": _DEVELOPMENT_ID,
    "kind": "follow_up",
    "status": "completed",
    "jira_issue_id": "10042",
    "jira_issue_key": "SHOP-42",
    "jira_project_key": "SHOP",
    "summary": "Round prices to cents",
    "description": "The cart shows three decimals.",
    "repository_url": "https://git.example.com/shop/storefront",
    "branch_name": "feature/SHOP-42",
    "follow_up": _FOLLOW_UP,
    "pr_mr_url": "https://git.example.com/shop/storefront/pulls/7",
    "prompt": "Work on the ticket SHOP-42 …",
    "development_details": "Prices are rounded where they are shown.",
    "check": _WORK_CHECK,
    "outcome": "pull_request",
    "error_message": None,
    "attempts": 1,
    "attempts_log": [_ATTEMPT],
    "cost_usd": 0.42,
    "usage": {"input_tokens": 18200, "output_tokens": 2100},
    "turns": 9,
    "duration_seconds": 194.2,
    "timings": {"accepted_at": "2026-02-03T14:10:00.120Z"},
    "created_at": "2026-02-03T14:10:00.120Z",
    "completed_at": "2026-02-03T14:13:21Z",
    "cancel_requested_at": None,
}
_KEY: Example = {
    "id": _KEY_ID,
    "name": "backoffice",
    "scopes": ["write"],
    "created_at": "2026-01-31T09:00:00Z",
    "expires_at": None,
    "last_used_at": "2026-02-03T14:05:00Z",
    "revoked_at": None,
}
_ACTOR: Example = {"key_id": _KEY_ID, "name": "backoffice"}

EXAMPLES: dict[str, Example] = {
    "Trigger": _TRIGGER,
    "AgentPolicy": _AGENT,
    "PullRequestPolicy": _PULL_REQUESTS,
    "TicketPolicy": _TICKET,
    "RepositoryInput": {**_REPOSITORY, "git_access_token": "example-token-of-the-forge-7f3a"},
    "RepositoryOutput": _SHOWN_REPOSITORY,
    "ProjectInput": {
        **_PROJECT,
        "repositories": [{**_REPOSITORY, "git_access_token": "example-token-of-the-forge-7f3a"}],
    },
    "ProjectOutput": _SHOWN_PROJECT,
    "ProblemOutput": _PROBLEM,
    "RepositoryCheckOutput": _CHECKED,
    "CheckOutput": {
        "id": "66f1a2b3c4d5e6f708192a60",
        "project_id": _PROJECT_ID,
        "state": "done",
        "requested_at": "2026-02-03T14:00:00Z",
        "done_at": "2026-02-03T14:00:01.200Z",
        "ok": False,
        "results": [_CHECKED],
    },
    "EventOutput": _EVENT,
    "EventDetailOutput": {**_EVENT, "raw_payload": {"webhookEvent": "jira:issue_updated", "issue": {"key": "SHOP-42"}}},
    "AttemptOutput": _ATTEMPT,
    "WorkCheckOutput": _WORK_CHECK,
    "ReviewCommentOutput": _REVIEW_COMMENT,
    "FollowUpOutput": _FOLLOW_UP,
    "DevelopmentOutput": _DEVELOPMENT,
    "TranscriptEventOutput": {
        "id": "5c0ffee5c0ffee5c0ffee5c0ffee5c0f:7",
        "job_id": "5c0ffee5c0ffee5c0ffee5c0ffee5c0f",
        "seq": 7,
        "at": "2026-02-03T14:11:02Z",
        "type": "message",
        "text": "The rounding is missing in money.py.",
    },
    "ApiKeyInput": {"name": "backoffice", "scopes": ["write"], "expires_at": "2030-01-01T00:00:00Z"},
    "ApiKeyOutput": _KEY,
    "NewApiKeyOutput": {**_KEY, "last_used_at": None, "key": "sdlc_shown-here-once-and-never-again"},
    "ActorOutput": _ACTOR,
    "AuditEntryOutput": {
        "id": "66f1a2b3c4d5e6f708192a70",
        "at": "2026-02-03T14:05:00Z",
        "action": "project.updated",
        "entity_id": _PROJECT_ID,
        "actor": _ACTOR,
        "address": "10.20.0.7",
        "request_id": "0f8fad5bd9cb469fa16570867728950e",
        "before": {"name": "Shop", "revision": 2},
        "after": {"name": "Web shop", "revision": 3},
    },
}
