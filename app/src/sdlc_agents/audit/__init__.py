"""The audit log: every change, by whom, from where, before and after, and the endpoint that shows it.

Entries are only ever appended, in the transaction of the change itself. What is recorded comes masked from its domain:
no secret is ever in it.
"""

from sdlc_agents.audit.repository import AuditLog

__all__ = ["AuditLog"]
