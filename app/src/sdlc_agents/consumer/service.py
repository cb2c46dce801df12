"""`sdlc-agents developer-agent-consumer`."""

import asyncio
import gc
import os
import shutil
import ssl
from contextlib import suppress

import httpx
import structlog

from sdlc_agents.consumer.checkout.mirrors import MirrorMetrics, Mirrors
from sdlc_agents.consumer.claims.intake import Intake
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.error_queue import ErrorQueue
from sdlc_agents.consumer.forge_checks import ForgeChecks
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.consumer.reporting.links import ConfigurationApi
from sdlc_agents.consumer.reporting.notices import Notices
from sdlc_agents.consumer.run.execution import RunServices
from sdlc_agents.consumer.run.repository import JobTokenRepository, TranscriptRepository
from sdlc_agents.consumer.run.runners import Runners
from sdlc_agents.consumer.settings import ConsumerSettings
from sdlc_agents.consumer.worker import Worker
from sdlc_agents.git.command import ASKPASS
from sdlc_agents.kernel import amqp, mongo
from sdlc_agents.kernel.encryption import FieldCipher, master_key
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.health import health_server
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import run_until_stopped
from sdlc_agents.kernel.settings import load_settings, public_values
from sdlc_agents.projects.reader import ProjectReader
from sdlc_agents.reviews.access import ForgeAccess
from sdlc_agents.reviews.poller import Pace, ReviewPoller
from sdlc_agents.reviews.replies import Answers
from sdlc_agents.reviews.repository import WatchRepository
from sdlc_agents.spending.repository import SpendingRepository
from sdlc_agents.trackers.jira import Jira

_OUTAGE_SECONDS = 1.0
# With SHUTDOWN_SECONDS before it, well within the container's stop_grace_period (roles/app/vars/main.yml).
_LAST_NOTICES_SECONDS = 5.0

log = structlog.get_logger()


def run() -> None:
    """Work until SIGTERM."""
    settings = load_settings(ConsumerSettings)
    configure_logging(settings, "developer-agent-consumer")
    if not os.access(ASKPASS, os.X_OK):
        raise SystemExit(f"sdlc-agents: {ASKPASS} is not executable: git could not log in anywhere")
    run_until_stopped(lambda stop: consume(settings, stop))


async def consume(settings: ConsumerSettings, stop: asyncio.Event) -> None:
    """The service; returns when `stop` is set and the run under way ended or was handed back."""
    _clear(settings)
    registry = new_registry()
    metrics = AgentMetrics(registry)
    client = mongo.connect(settings, application=settings.consumer_name)
    db = mongo.database(client, settings)
    developments = ClaimRepository(
        db,
        settings.consumer_name,
        lease_seconds=settings.lease_seconds,
        queued_grace_seconds=settings.queued_grace_seconds,
    )
    cipher = FieldCipher(db, master_key(settings))
    runners = Runners(settings.agent_runner_urls)
    outside = httpx.AsyncClient(
        proxy=settings.egress_proxy_url,
        verify=ssl.create_default_context(cafile=settings.extra_ca_file),
        trust_env=False,
        timeout=httpx.Timeout(20, connect=10),
    )
    jira = None
    if settings.jira_api_url is not None and settings.jira_api_token is not None:
        jira = Jira(settings.jira_api_url, settings.jira_api_token, settings.jira_api_user, outside)
    mirrors = None
    if settings.mirror_dir is not None:
        mirrors = Mirrors(settings.mirror_dir, settings.mirror_max_mb * 1024**2, MirrorMetrics(registry))
    api = ConfigurationApi(settings.configuration_api_public_url or "")
    tools = RunServices(
        settings=settings,
        developments=developments,
        projects=ProjectReader(db),
        jobs=JobTokenRepository(db),
        spending=SpendingRepository(db),
        transcripts=TranscriptRepository(db),
        cipher=cipher,
        runners=runners,
        outside=outside,
        metrics=metrics,
        api=api,
        jira=jira,
        mirrors=mirrors,
    )
    broker = amqp.Connection(settings, application=settings.consumer_name, prefetch=1)
    errors = ErrorQueue(broker)
    intake = Intake(broker, errors, developments, metrics, stop, sweep_seconds=settings.sweep_seconds)
    access = ForgeAccess(cipher, outside)
    notices = Notices(developments, errors, jira, Answers(tools.projects, access), api)
    checks = {"mongodb": lambda: mongo.ping(db), "rabbitmq": broker.check, "agent_runner": runners.check}
    telling = asyncio.create_task(notices.run(), name="notices")
    beside = [telling, asyncio.create_task(ForgeChecks(db, cipher, outside).run(), name="project checks")]
    if settings.review_poll_seconds:
        pace = Pace(settings.review_poll_seconds, settings.review_days)
        poller = ReviewPoller(WatchRepository(db, settings.consumer_name), access, pace)
        beside.append(asyncio.create_task(poller.run(), name="reviews"))
    try:
        async with health_server(settings, checks, registry):
            log.info("consumer_ready", **public_values(settings))
            await _consume(intake, Worker(tools, stop), notices, stop)
            # What the last run left to be told; what is not told by then, another consumer tells.
            notices.end()
            await asyncio.wait({telling}, timeout=_LAST_NOTICES_SECONDS)
            log.info("consumer_ends")
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        await broker.close()
        await runners.close()
        await outside.aclose()
        await cipher.close()
        await client.close()


async def _consume(intake: Intake, worker: Worker, notices: Notices, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            claim = await intake.next_claim()
            if claim is not None:
                await worker.work(claim)
                # The collector seldom looks by itself (`run_until_stopped`), and a run leaves a thousand cycles.
                gc.collect()
                notices.wake()
        except UnavailableError as error:
            log.warning("dependency_away", error=error.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _OUTAGE_SECONDS)


def _clear(settings: ConsumerSettings) -> None:
    """Remove the workspaces that a former process of this name left."""
    shutil.rmtree(settings.workspace, ignore_errors=True)
    settings.workspace.mkdir(mode=0o700, parents=True)
