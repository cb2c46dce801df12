"""A real Gitea."""

from support.agents import authority, authority_file, gitea

__all__ = ["authority", "authority_file", "gitea"]
