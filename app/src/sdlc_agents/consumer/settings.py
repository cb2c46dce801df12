"""Settings of the developer agent's consumer."""

import socket
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from sdlc_agents.kernel.settings import AmqpSettings, CommaList, EncryptionSettings, MongoSettings
from sdlc_agents.spending.budgets import Usd

Url = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ConsumerSettings(MongoSettings, AmqpSettings, EncryptionSettings):
    """`llm_gateway_url` is the gateway's address as runners see it; `extra_ca_file` the authorities trusted outside.

    Without `mirror_dir` nothing of a repository is kept from one run to the next; the consumers of a host may share it.
    `lfs_max_mb` bounds what a run gets of Git LFS, for projects that want it. `jira_api_user` is set for Jira Cloud
    alone. `configuration_api_public_url` is where people reach the configuration API: what they are told links there.
    A claim is another consumer's to take when it was not renewed for `lease_seconds`; a queued development whose
    message does not come is taken after `queued_grace_seconds`. `agent_daily_budget_usd` and `agent_monthly_budget_usd`
    are what the runs of one project may cost in a UTC day and month, `llm_gateway_monthly_budget_usd` what those of all
    projects may in a month, as the gateway has it. Pull requests are asked for reviews each `review_poll_seconds`
    (0: never), for `review_days` after their last run.
    """

    consumer_name: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    agent_runner_urls: Annotated[CommaList, Field(min_length=1)]
    llm_gateway_url: Url
    egress_proxy_url: str | None = None
    extra_ca_file: Path | None = None
    workspace_dir: Path = Path("/workspace")
    mirror_dir: Path | None = None
    mirror_max_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 5000
    lfs_max_mb: Annotated[int, Field(ge=1, le=100_000)] = 250

    jira_api_url: Url | None = None
    jira_api_user: str | None = None
    jira_api_token: SecretStr | None = None
    configuration_api_public_url: Url | None = None

    agent_model: str = "claude-sonnet-5-5"
    agent_tools: Annotated[CommaList, Field(min_length=1)] = ("Read", "Edit", "Write", "Glob", "Grep", "Bash")
    agent_max_turns: Annotated[int, Field(ge=1, le=1000)] = 100
    agent_timeout_seconds: Seconds = 3600
    agent_max_cost_usd: Annotated[float, Field(gt=0, le=10_000)] = 5.0
    agent_daily_budget_usd: Usd | None = None
    agent_monthly_budget_usd: Usd | None = None
    llm_gateway_monthly_budget_usd: Usd | None = None
    agent_max_result_mb: Annotated[int, Field(ge=1, le=2000)] = 50
    agent_max_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    agent_author_name: Annotated[str, Field(min_length=1, max_length=200)] = "SDLC AI Agents"
    agent_author_email: Annotated[str, Field(pattern=r"^[^@\s<>]+@[^@\s<>]+$")] = "sdlc-agents@localhost"
    runner_wait_seconds: Seconds = 600

    review_poll_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    review_days: Annotated[int, Field(ge=1, le=365)] = 30

    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    queued_grace_seconds: Seconds = 60
    sweep_seconds: Seconds = 10
    shutdown_seconds: Seconds = 8

    @property
    def workspace(self) -> Path:
        """This consumer's own part of `workspace_dir`."""
        return self.workspace_dir / self.consumer_name
