"""Projects: which repositories belong to a Jira project, and the tokens that open them.

Tokens are write-only: encrypted before they are stored, shown as their last four characters at most. The consumer is
the only process that decrypts them, with a database user of its own.
"""
