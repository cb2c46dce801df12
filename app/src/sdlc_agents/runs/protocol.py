"""What consumer and runner say to each other: the job, and the events of its run (one JSON object a line).

The consumer reads events from an untrusted place, so every field has a bound here.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

TEXT_CHARACTERS = 16_384
LINE_BYTES = 256 * 1024
HEARTBEAT_SECONDS = 10.0
"""A blank line is sent when nothing else was for this long, so that a dead runner is told from a thinking one."""

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Branch = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/+@#-]{0,254}$")]
Text = Annotated[str, Field(max_length=TEXT_CHARACTERS)]
Count = Annotated[int, Field(ge=0, le=10**12)]
# Later and earlier ones cannot be stored in every time zone.
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), le=datetime(2200, 1, 1, tzinfo=UTC))]
FailureReason = Literal[
    "time_limit",
    "turn_limit",
    "cost_limit",
    "output_limit",
    "process_limit",
    "memory_limit",
    "disk_limit",
    "model_error",
    "agent_error",
    "workspace_error",
    "cancelled",
]
CheckResult = Literal["passed", "failed", "timed_out"]


class CheckRequest(BaseModel):
    """The project's own check: a command for /bin/sh, and how long it may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[str, Field(min_length=1, max_length=1000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)]


class JobRequest(BaseModel):
    """One job. The bundle beside it carries `base_branch`, and `branch` where that exists already.

    `start_commit` is where the work begins; `shallow` names the commits whose parents the bundle leaves out. With
    `borrowed` it also carries files of submodules and of Git LFS (`agent.trees.BORROWED`), to be read only. The egress
    proxy takes `egress_token`, which there is where the project's tools may reach anything at all.
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
    egress_token: Annotated[str | None, Field(min_length=20, max_length=200, repr=False)] = None
    gateway_url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    max_turns: Annotated[int, Field(ge=1, le=1000)]
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)]
    max_cost_usd: Annotated[float, Field(gt=0, le=10_000)]
    tools: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    check: CheckRequest | None = None


class Usage(BaseModel):
    """Tokens, as the Messages API names them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_creation_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    at: Moment


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
    """Tokens of a round of the agent's, as it counts them."""

    type: Literal["usage"] = "usage"
    usage: Usage


class Check(_Event):
    """The project's check was run: in round 1 on the agent's work, in round 2 after the agent repaired it.

    `exit_status` is negative after a signal, None where the check did not come to its own end.
    """

    type: Literal["check"] = "check"
    round: Annotated[int, Field(ge=1, le=2)]
    command: Annotated[str, Field(max_length=1000)]
    passed: bool
    exit_status: Annotated[int, Field(ge=-255, le=255)] | None
    timed_out: bool
    seconds: Annotated[float, Field(ge=0, le=10**6)]
    output: Text

    @property
    def result(self) -> CheckResult:
        """In a word."""
        if self.passed:
            return "passed"
        return "timed_out" if self.timed_out else "failed"


class Finished(_Event):
    """The agent came to its end and the work is committed. `changed` False means that there is no bundle.

    `check` is what the project's check came to, None where none was run. `repair_failed` says why a repair round came
    to nothing: the work is then that of before it.
    """

    type: Literal["finished"] = "finished"
    text: Text
    turns: Count
    duration_seconds: Annotated[float, Field(ge=0, le=10**6)]
    changed: bool
    check: CheckResult | None = None
    repair_failed: FailureReason | None = None


class Failed(_Event):
    """The job ended without a result. `message` says why, for people."""

    type: Literal["failed"] = "failed"
    reason: FailureReason
    message: Text
    turns: Count = 0
    duration_seconds: Annotated[float, Field(ge=0, le=10**6)] = 0.0


Event = Annotated[Started | Message | Tool | Consumed | Check | Finished | Failed, Field(discriminator="type")]
EVENTS: TypeAdapter[Event] = TypeAdapter(Event)


class RunnerState(BaseModel):
    """The answer of `GET /v1/jobs`: idle takes a job, busy has one, used is about to start afresh."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: Literal["idle", "busy", "used"]


def shorten(text: str, limit: int = TEXT_CHARACTERS) -> str:
    """The text, cut in the middle where it is longer than the limit, saying how much is gone.

    Half a surrogate pair, which no encoding has, becomes a question mark.
    """
    text = text.encode(errors="replace").decode()
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
    if isinstance(value, str):
        return shorten(value)
    return shorten(json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":")))
