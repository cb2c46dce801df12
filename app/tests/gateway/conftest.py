"""The gateway's fixtures."""

from support.agents import claude, database_environment, gateway

__all__ = ["claude", "database_environment", "gateway"]
