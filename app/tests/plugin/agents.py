"""What an agent run needs: a forge, the model, the gateway, runners, and the consumer as a process."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme
from lab.services.gitea import local

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from support.agents import Developments, GatewayProcess, RunnerProcesses, StartConsumer
from support.backends import AMQP_NAMES, Broker, EveryService
from support.database_users import DatabaseUsers
from support.lab import API_KEY, Gitea, scripted_claude
from support.processes import Service, free_port, service
from support.relay import EgressProxy, egress_proxy, tls_front
from support.world import World


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority of the tests."""
    return trustme.CA()


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, as EXTRA_CA_FILE names one."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def gitea(authority: trustme.CA, authority_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    """A real Gitea behind TLS, started (and built, where the lab's cache lacks it) by the lab's code."""
    directory = tmp_path_factory.mktemp("gitea")
    plain = local.start_local(directory, free_port())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    try:
        with tls_front(int(plain.url.rpartition(":")[2]), context) as port:
            admin = (directory / "admin_token").read_text(encoding="ascii").strip()
            yield Gitea(f"https://127.0.0.1:{port}", admin, plain.token, authority_file)
    finally:
        local.stop_local(plain.url)


@pytest.fixture
async def claude() -> AsyncIterator[str]:
    """The scripted Messages API's base URL."""
    async with scripted_claude() as url:
        yield url


@pytest.fixture
async def proxy() -> AsyncIterator[EgressProxy]:
    """The egress proxy."""
    async with egress_proxy() as running:
        yield running


@pytest.fixture
def database_environment(database_users: DatabaseUsers) -> dict[str, str]:
    """MONGO_* for the gateway's process: a user with its rights, and no other."""
    return database_users.environment("gateway")


@pytest.fixture
async def gateway(
    claude: str, database_environment: dict[str, str], db: Database, tmp_path: Path
) -> AsyncIterator[GatewayProcess]:
    """The gateway as a process, in front of the scripted API, with its user's rights."""
    del db  # its indexes and validators are needed
    port = free_port()
    environment = {
        **database_environment,
        "LLM_GATEWAY_PORT": str(port),
        "CLAUDE_API_URL": claude,
        "ANTHROPIC_API_KEY": API_KEY,
    }
    async with service("llm-gateway", environment, tmp_path / "gateway.log") as running:
        yield GatewayProcess(f"http://127.0.0.1:{port}", running)


@pytest.fixture
async def runners(tmp_path: Path) -> AsyncIterator[RunnerProcesses]:
    """Runners as processes."""
    async with AsyncExitStack() as stack:
        processes = RunnerProcesses(stack, tmp_path)
        try:
            yield processes
        finally:
            await processes.stop()


@pytest.fixture
def developments(db: Database, cipher: FieldCipher, project_key: str) -> Developments:
    """Projects and developments of the test's own."""
    return Developments(db, cipher, project_key)


@pytest.fixture
async def world(
    gitea: Gitea,
    gateway: GatewayProcess,
    runners: RunnerProcesses,
    broker: Broker,
    proxy: EgressProxy,
    developments: Developments,
    db: Database,
    tmp_path: Path,
) -> World:
    """What a run needs and touches, with one runner."""
    await runners.start()
    return World(gitea, gateway, runners, broker, proxy, developments, db, tmp_path)


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
