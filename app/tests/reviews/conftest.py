"""The fixtures of agent runs."""

from consumer.conftest import (
    authority,
    authority_file,
    claude,
    database_environment,
    developments,
    gateway,
    gitea,
    proxy,
    runners,
    start_consumer,
    world,
)

__all__ = [
    "authority",
    "authority_file",
    "claude",
    "database_environment",
    "developments",
    "gateway",
    "gitea",
    "proxy",
    "runners",
    "start_consumer",
    "world",
]
