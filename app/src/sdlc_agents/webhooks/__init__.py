"""Jira's deliveries: verify, store, acknowledge, publish.

`endpoints` answers POST /webhook, `bodies` reads, `signature`, `triggers` and `payload` judge what came, `ingest`
stores many deliveries with one write, `outbox` sends what was stored to the broker. A delivery that was answered 200
is never lost.
"""
