"""The agent runner: untrusted, credential-free, one job and out.

A consumer posts a job and a git bundle; Claude Code works on it here; events stream back while it does, and the branch
comes back as a bundle. Nothing that this package says is believed by the consumer without a check.
"""
