"""What consumer and runner say to each other: the job, and the events of its run (one JSON object a line).

The consumer reads events from an untrusted place, so every field has a bound here.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

TEXT_CHARACTERS = 16_384
LINE_BYTES = 256 * 1024
HEARTBEAT_SECONDS = 10.0
"""A blank line is sent when nothing else was for this long, so that a dead runner is told from a thinking one."""

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Branch = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/+@#-]{0,254}$")]
Text = Annotated[str, Field(max_length=TEXT_CHARACTERS)]
Count = Annotated[int, Field(ge=0, le=10**12)]
FailureReason = Literal[
    "time_limit", "turn_limit", "cost_limit", "model_error", "agent_error", "workspace_error", "cancelled"
]


class JobRequest(BaseModel):
    """One job. The bundle beside it carries `base_branch`, and `branch` where that exists already.

    `start_commit` is where the work begins; `shallow` names the commits whose parents the bundle leaves out.
    With `borrowed` it also carries files of submodules and of Git LFS (`agent.trees.BORROWED`), to be read only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    job_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    prompt: Annotated[str, Field(min_length=1, max_length=400_000)]
    base_branch: Branch
    branch: Branch
    start_commit: Commit
    shallow: tuple[Commit, ...] = ()
    borrowed: bool = False
    author_name: Annotated[str, Field(min_length=1, max_length=200)]
    author_email: Annotated[str, Field(min_length=3, max_length=200)]
    commit_message: Annotated[str, Field(min_length=1, max_length=2000)]
    job_token: Annotated[str, Field(min_length=20, max_length=200, repr=False)]
    gateway_url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    max_turns: Annotated[int, Field(ge=1, le=1000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)]
    max_cost_usd: Annotated[float, Field(gt=0, le=10_000)]
    tools: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]


class Usage(BaseModel):
    """Tokens, as the Messages API names them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime


class Started(_Event):
    """Claude Code is up and has the prompt."""

    type: Literal["started"] = "started"
    model: Annotated[str, Field(max_length=200)]
    version: Annotated[str, Field(max_length=50)]


class Message(_Event):
    """The agent said something."""

    type: Literal["message"] = "message"
    text: Text


class Tool(_Event):
    """The agent used a tool (`phase` call), or got its result."""

    type: Literal["tool"] = "tool"
    phase: Literal["call", "result"]
    tool_id: Annotated[str, Field(max_length=200)]
    name: Annotated[str, Field(max_length=200)] = ""
    content: Text
    is_error: bool = False


class Consumed(_Event):
    """Tokens of the whole run, as the agent counts them."""

    type: Literal["usage"] = "usage"
    usage: Usage


class Finished(_Event):
    """The agent came to its end and the work is committed. `changed` False means that there is no bundle."""

    type: Literal["finished"] = "finished"
    text: Text
    turns: Count
    duration_seconds: Annotated[float, Field(ge=0, le=10**6)]
    changed: bool


class Failed(_Event):
    """The job ended without a result. `message` says why, for people."""

    type: Literal["failed"] = "failed"
    reason: FailureReason
    message: Text
    turns: Count = 0
    duration_seconds: Annotated[float, Field(ge=0, le=10**6)] = 0.0


Event = Annotated[Started | Message | Tool | Consumed | Finished | Failed, Field(discriminator="type")]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


class RunnerState(BaseModel):
    """The answer of `GET /v1/jobs`: idle takes a job, busy has one, used is about to start afresh."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["idle", "busy", "used"]


def shorten(text: str, limit: int = TEXT_CHARACTERS) -> str:
    """The text, cut in the middle where it is longer than the limit, saying how much is gone."""
    if len(text) <= limit:
        return text
    note = f"\n[… {len(text) - limit} characters left out …]\n"
    half = max(0, (limit - len(note)) // 2)
    return text[:half] + note + text[len(text) - half :]


def to_line(event: BaseModel) -> bytes:
    """An event as a line of NDJSON."""
    return event.model_dump_json().encode() + b"\n"


def plain(value: Any) -> str:
    """Whatever a tool was given or gave, as bounded text."""
    return shorten(value if isinstance(value, str) else orjson.dumps(value, default=str).decode())
