"""Settings of the agent runner. Nothing in them is secret."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sdlc_agents.kernel.settings import CommaList, Port, ServiceSettings


class RunnerSettings(ServiceSettings):
    """`job_dir` is an empty directory of the runner's own, on which programs may be executed.

    `agent_runner_clients` are the addresses that may hand in jobs (empty: any that reaches the port); the container's
    neighbours on the same network are other runners, which are not to be trusted. A result that no consumer asks for
    within `collect_seconds` is dropped: the consumer is gone. `egress_proxy_url` and
    `extra_ca_file` are what tools in the sandbox are told to use and to trust.

    `max_processes` counts threads, as the container's pids limit does; that and the container's memory are to be a
    good deal more than the limits here. `max_disk_mb` is by default nine tenths of what is free in `job_dir`.
    """

    agent_runner_port: Port = 8082
    agent_runner_clients: CommaList = ()
    egress_proxy_url: str | None = None
    extra_ca_file: Path | None = None
    job_dir: Path = Path("/job")
    max_processes: Annotated[int, Field(ge=16)] = 384
    max_memory_mb: Annotated[int, Field(ge=64)] = 1536
    max_disk_mb: Annotated[int, Field(ge=1)] | None = None
    max_output_mb: Annotated[int, Field(ge=1, le=100)] = 64
    collect_seconds: Annotated[float, Field(gt=0)] = 20.0
    minimum_uptime_seconds: Annotated[float, Field(ge=0)] = 10.0
