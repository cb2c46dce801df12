"""`sdlc-agents agent-runner`: serves one job and ends, so that Docker starts it afresh with an empty /job.

It is meant to be the first process of its container (no init in front of it): the kernel then ignores SIGKILL and
SIGSTOP sent to it from inside, and its end is the end of everything the job started.
"""

import asyncio
import logging
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import structlog
from starlette.applications import Starlette

from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.health import serve_api
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.processes import hold_descendants, kill_descendants, reap_orphans
from sdlc_agents.kernel.serving import run_until_stopped
from sdlc_agents.kernel.settings import load_settings, public_values
from sdlc_agents.kernel.web import install
from sdlc_agents.runner.endpoints import KnownClients, routes
from sdlc_agents.runner.environment import Outside
from sdlc_agents.runner.job import JobSlot
from sdlc_agents.runner.limits import JobLimits
from sdlc_agents.runner.metrics import RunnerMetrics
from sdlc_agents.runner.settings import RunnerSettings
from sdlc_agents.runner.workspace import JobDirectory

_KEPT = ("PATH", "LANG")

log = structlog.get_logger()


def run() -> None:
    """Serve until the job is done or SIGTERM comes."""
    settings = load_settings(RunnerSettings)
    configure_logging(settings, "agent-runner")
    if not settings.job_dir.is_dir():
        raise SystemExit(
            f"sdlc-agents: {settings.job_dir} is no folder: the runner needs one of its own for each job (JOB_DIR)"
        )
    # What goes wrong in a run is an event of it; a killed CLI is no error of the runner's.
    logging.getLogger("claude_agent_sdk").setLevel(logging.CRITICAL)
    _forget_environment(settings.job_dir)
    hold_descendants()
    run_until_stopped(lambda stop: serve_one_job(settings, stop))


async def serve_one_job(settings: RunnerSettings, stop: asyncio.Event) -> None:
    """The service; returns when the job was collected, or when `stop` is set."""
    began = time.monotonic()
    registry = new_registry()
    directory = JobDirectory(settings.job_dir)
    directory.clear()
    directory.create()
    slot = JobSlot(
        directory,
        RunnerMetrics(registry),
        outside=Outside(settings.egress_proxy_url, settings.extra_ca_file),
        limits=JobLimits(
            processes=settings.max_processes,
            memory_mb=settings.max_memory_mb,
            output_mb=settings.max_output_mb,
            disk_mb=settings.max_disk_mb,
        ),
        collect_seconds=settings.collect_seconds,
    )
    app = Starlette(routes=routes(slot))
    install(app, registry)
    guarded = KnownClients(app, settings.agent_runner_clients)

    async def idle() -> None:
        if slot.state != "idle":
            raise UnavailableError(f"the runner is {slot.state}")

    reaper = asyncio.create_task(reap_orphans(), name="reaper")
    try:
        port, checks = settings.agent_runner_port, {"runner": idle}
        async with serve_api(settings, guarded, port, checks, registry, graceful_seconds=2):
            log.info("runner_ready", **public_values(settings))
            await _first(stop, slot.done)
            slot.stop()
            await kill_descendants()
            # Docker waits longer and longer between restarts of a container that lived for less than ten seconds.
            remaining = settings.minimum_uptime_seconds - (time.monotonic() - began)
            if not stop.is_set() and remaining > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), remaining)
    finally:
        reaper.cancel()
    log.info("runner_ends")


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _forget_environment(job_dir: Path) -> None:
    """What a job starts inherits nothing of this process's environment but where programs are."""
    kept = {name: value for name in _KEPT if (value := os.environ.get(name))}
    os.environ.clear()
    os.environ.update(kept)
    os.environ["HOME"] = str(job_dir / "home")
    tempfile.tempdir = str(job_dir / "tmp")
