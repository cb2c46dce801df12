"""The runner's fixtures."""

from support.agents import claude, database_environment, gateway, runners

__all__ = ["claude", "database_environment", "gateway", "runners"]
