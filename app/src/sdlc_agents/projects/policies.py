"""How the agents work for a project, as far as its team decides that: all of it optional.

Limits here lower the appliance's own and never raise them.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictBool

from sdlc_agents.projects.fields import Command, EgressHost, ForgeUser, ModelName, StatusName

_UNIQUE: dict[str, Any] = {"uniqueItems": True}


class ToolName(StrEnum):
    """Claude Code's tools that an unattended run can use: https://docs.claude.com/en/docs/claude-code/settings"""

    READ = "Read"
    EDIT = "Edit"
    WRITE = "Write"
    GLOB = "Glob"
    GREP = "Grep"
    BASH = "Bash"
    NOTEBOOK_EDIT = "NotebookEdit"
    TODO_WRITE = "TodoWrite"


def _unique(values: list[Any]) -> list[Any]:
    if len(values) != len(set(values)):
        raise ValueError("two are the same")
    return values


def _number(value: object) -> object:
    """What JSON calls a number: no text that looks like one, and no boolean."""
    if isinstance(value, str | bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic tells people of ValueErrors
    return value


Number = BeforeValidator(_number)
Usd = Annotated[float, Field(gt=0, le=10_000), Number]
Turns = Annotated[int, Field(ge=1, le=1000), Number]
RunSeconds = Annotated[int, Field(ge=1, le=86_400), Number]
CheckSeconds = Annotated[int, Field(ge=1, le=7200), Number]
Tools = Annotated[
    list[ToolName], Field(min_length=1, max_length=20, json_schema_extra=_UNIQUE), AfterValidator(_unique)
]
EgressHosts = Annotated[list[EgressHost], Field(max_length=100, json_schema_extra=_UNIQUE), AfterValidator(_unique)]
ForgeUsers = Annotated[list[ForgeUser], Field(max_length=50, json_schema_extra=_UNIQUE), AfterValidator(_unique)]


class AgentPolicy(BaseModel):
    """What a run may do and take. What is null is as the appliance has it.

    `timeout_seconds`, `max_turns` and `max_cost_usd` bound one run, the budgets all runs of a UTC day and month.
    `egress_hosts` are the names that a run may reach through the proxy, of those that the appliance lets runs reach at
    all; `.example.com` is a name with all below it. `check_command` runs in the sandbox when the agent is done
    (`make test`, say); when it fails, the agent gets one round to repair what it broke. With `submodules` and `lfs`
    a run can read the files of submodules on the repository's own forge, and those of Git LFS, and change neither.
    """

    tools: Tools | None = None
    model: ModelName | None = None
    max_turns: Turns | None = None
    timeout_seconds: RunSeconds | None = None
    max_cost_usd: Usd | None = None
    daily_budget_usd: Usd | None = None
    monthly_budget_usd: Usd | None = None
    egress_hosts: EgressHosts = []
    check_command: Command | None = None
    check_timeout_seconds: CheckSeconds = 600
    submodules: StrictBool = False
    lfs: StrictBool = False


class PullRequestPolicy(BaseModel):
    """How pull requests are opened, and who may ask for changes.

    A review that requests changes, or a comment that mentions the bot, starts another run on the same branch when it is
    by one of `follow_up_by` (user names at the forge); with nobody there, none does.
    """

    draft: StrictBool = False
    reviewers: ForgeUsers = []
    follow_up_by: ForgeUsers = []


class TicketPolicy(BaseModel):
    """The statuses that a ticket is moved to, where its workflow has such a transition; null leaves it where it is."""

    status_when_started: StatusName | None = None
    status_when_completed: StatusName | None = None
    status_when_failed: StatusName | None = None
