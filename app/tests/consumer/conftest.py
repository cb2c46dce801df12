"""The fixtures of agent runs, and the consumer as a process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from consumer.world import world
from sdlc_agents.kernel import amqp
from support.agents import (
    GatewayProcess,
    RunnerProcesses,
    authority,
    authority_file,
    claude,
    database_environment,
    developments,
    gateway,
    gitea,
    proxy,
    runners,
)
from support.backends import AMQP_NAMES, Broker, EveryService
from support.database_users import DatabaseUsers
from support.processes import Service, service
from support.relay import EgressProxy

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
    "world",
]

StartConsumer = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def start_consumer(
    gateway: GatewayProcess,
    runners: RunnerProcesses,
    broker: Broker,
    proxy: EgressProxy,
    authority_file: Path,
    every_service: EveryService,
    database_users: DatabaseUsers,
    tmp_path: Path,
) -> StartConsumer:
    """`async with start_consumer("name", SOME_SETTING="…") as service`: a consumer with its user's rights."""
    del broker  # its queues are needed
    environment = {
        **database_users.environment("consumer"),
        "RABBITMQ_URL": every_service.rabbitmq_url.get_secret_value(),
        "FIELD_ENCRYPTION_KEY": every_service.field_encryption_key.get_secret_value(),
        "LLM_GATEWAY_URL": gateway.url,
        "EGRESS_PROXY_URL": proxy.url,
        "EXTRA_CA_FILE": str(authority_file),
        "WORKSPACE_DIR": str(tmp_path / "workspace"),
        "LEASE_SECONDS": "6",
        "SWEEP_SECONDS": "0.5",
        "AGENT_TIMEOUT_SECONDS": "60",
        "RUNNER_WAIT_SECONDS": "20",
    }
    if every_service.rabbitmq_tls_ca_file is not None:
        environment["RABBITMQ_TLS_CA_FILE"] = str(every_service.rabbitmq_tls_ca_file)

    @asynccontextmanager
    async def start(name: str = "consumer-1", **given: str) -> AsyncIterator[Service]:
        names = {f"TEST_{key}": getattr(amqp, key) for key in AMQP_NAMES}
        values = {
            "AGENT_RUNNER_URLS": ",".join(runners.urls or ["http://127.0.0.1:1"]),
            "CONSUMER_NAME": name,
            **names,
            **environment,
            **given,
        }
        async with service(
            "developer-agent-consumer", values, tmp_path / f"{name}.log", ready="AGENT_RUNNER_URLS" not in given
        ) as running:
            yield running

    return start
