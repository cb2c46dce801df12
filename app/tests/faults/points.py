"""The moments of a run at which something is killed, each found by one message that is held back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from support.appliance import Gates
from support.gates import Gate, Side


@dataclass(frozen=True)
class Point:
    """One moment: what is held, and where. A point without a pattern is a tool call of the agent's own."""

    name: str
    where: Callable[[Gates], Sequence[Gate]] = lambda _: ()
    pattern: bytes = b""
    side: Side = Side.REQUEST


POINTS = (
    Point("claimed", lambda gates: [gates.database], rb"\x02find\x00.{4}projects\x00"),
    Point("cloning", lambda gates: [gates.forge], rb"^POST \S+/git-upload-pack "),
    Point("job token opened", lambda gates: [gates.database], rb"\x02insert\x00.{4}agent_jobs\x00", Side.ANSWER_TO),
    Point("job handed over", lambda gates: gates.runners, rb"^POST /v1/jobs "),
    Point("model asked", lambda gates: [gates.model], rb"^POST /v1/messages"),
    Point("tool call"),
    Point("agent finished", lambda gates: gates.runners, rb'"type":"finished"', Side.ANSWER),
    Point("before the push", lambda gates: [gates.forge], rb"^POST \S+/git-receive-pack "),
    Point("pushed, not heard", lambda gates: [gates.forge], rb"^POST \S+/git-receive-pack ", Side.ANSWER_TO),
    Point("pull request opened, not heard", lambda gates: [gates.forge], rb"^POST \S+/pulls ", Side.ANSWER_TO),
    Point(
        "before the end is stored", lambda gates: [gates.database], rb"\x02update\x00.{4}developments\x00.*completed_at"
    ),
    Point("end stored, ticket not told", lambda gates: [*gates.trackers.values()], rb"opened a pull request"),
    Point(
        "ticket told, not noted", lambda gates: [*gates.trackers.values()], rb"opened a pull request", Side.ANSWER_TO
    ),
)
