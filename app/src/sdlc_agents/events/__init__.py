"""Webhook events as people see them: what Jira sent and what became of it. Read only; `webhooks` writes them."""
