"""The runner's fixtures."""

from runner.client import client, repository
from support.agents import claude, database_environment, gateway, runners

__all__ = ["claude", "client", "database_environment", "gateway", "repository", "runners"]
