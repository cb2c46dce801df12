"""Jira for the lab: PyPI's `jira820` (a Data Center 8.20 emulator) behind a bearer token, and its webhooks.

`server.py` runs the emulator with project SHOP; `client.py` makes and moves tickets in it; `payload.py`
and `send_webhook.py` send what Jira sends when a ticket moves, signed.
"""
