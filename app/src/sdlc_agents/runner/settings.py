"""Settings of the agent runner. Nothing in them is secret."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from sdlc_agents.settings import CommaList, Port, ServiceSettings


class RunnerSettings(ServiceSettings):
    """`job_dir` is an empty directory of the runner's own, on which programs may be executed.

    `agent_runner_clients` are the addresses that may hand in jobs (empty: any that reaches the port); the container's
    neighbours on the same network are other runners, which are not to be trusted. A result that no consumer asks for
    within `collect_seconds` is dropped: the consumer is gone. `egress_proxy_url` and
    `extra_ca_file` are what tools in the sandbox are told to use and to trust.
    """

    agent_runner_port: Port = 8082
    agent_runner_clients: CommaList = ()
    egress_proxy_url: str | None = None
    extra_ca_file: Path | None = None
    job_dir: Path = Path("/job")
    collect_seconds: Annotated[float, Field(gt=0)] = 20.0
    minimum_uptime_seconds: Annotated[float, Field(ge=0)] = 10.0
