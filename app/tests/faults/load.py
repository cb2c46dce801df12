"""Many tickets through one appliance, and the times that its documents tell of them."""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.appliance import Appliance

ARRIVAL_SECONDS = 2.5
DESCRIPTION = "[[lab:slow seconds=1]]\n\nPlease write it down."
"""Look, read, write, test, finish: five turns, each after a second, as a quick model would have it."""
END_SECONDS = 120


@dataclass(frozen=True)
class Phases:
    """Where a run's time went, in seconds, by the times in its document.

    `claiming` is from the ticket's acceptance to a consumer's claim, `starting` from there until the agent runs
    (clone, free runner, hand-over, start of Claude Code), `agent` until it has finished, `publishing` until the pull
    request is open (fetch and check of the result, push, opening).
    """

    claiming: float
    starting: float
    agent: float
    publishing: float

    @property
    def overhead(self) -> float:
        """What the appliance itself adds: ticket accepted → pull request open, minus the agent's time."""
        return self.claiming + self.starting + self.publishing

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Phases":
        """Those of a completed development."""
        names = ("accepted_at", "claimed_at", "agent_started_at", "agent_finished_at", "published_at")
        times = [document["timings"][name] for name in names]
        return cls(*((after - before).total_seconds() for before, after in itertools.pairwise(times)))


@dataclass
class Load:
    """What became of the tickets; `resident_mib` is the consumers' memory in all, by how many tickets had ended."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    resident_mib: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def phases(self) -> list[Phases]:
        """Of every ticket."""
        return [Phases.of(document) for document in self.documents]

    def growth(self, early: int) -> float:
        """By how much the consumers' memory grew since `early` tickets had ended, as a fraction."""
        return self.resident_mib[max(self.resident_mib)] / self.resident_mib[early] - 1


async def closed_loop(
    appliance: Appliance,
    tickets: int,
    *,
    in_flight: int,
    say: Callable[[str], None],
    arrival_seconds: float = ARRIVAL_SECONDS,
) -> Load:
    """So many tickets, of which `in_flight` are under way at any time: the next is accepted when one ends.

    So none waits for another to end, and what it waits for is the appliance's own doing. The first come
    `arrival_seconds` apart: all agents here take the same time, and tickets that begin together stay together.
    """
    load = Load()
    keys = iter([await appliance.ticket() for _ in range(tickets)])
    began = time.monotonic()

    async def one_after_another(number: int) -> None:
        await asyncio.sleep(number * arrival_seconds)
        for key in keys:
            (development_id,) = await appliance.accept((key, DESCRIPTION))
            _note(appliance, load, await _ended(appliance, development_id, END_SECONDS), say)

    await asyncio.gather(*(one_after_another(number) for number in range(in_flight)))
    load.seconds = time.monotonic() - began
    return load


async def burst(appliance: Appliance, tickets: int, *, say: Callable[[str], None]) -> Load:
    """So many tickets at once."""
    load = Load()
    keys = [await appliance.ticket() for _ in range(tickets)]
    began = time.monotonic()
    for development_id in await appliance.accept(*((key, DESCRIPTION) for key in keys)):
        _note(appliance, load, await _ended(appliance, development_id, END_SECONDS * tickets), say)
    load.seconds = time.monotonic() - began
    return load


async def check(appliance: Appliance, load: Load) -> None:
    """Every ticket ended in a pull request of its own, none twice. Raises `AssertionError`."""
    failed = [document["error_message"] for document in load.documents if document["status"] != "completed"]
    assert failed == []
    branches = {document["branch_name"] for document in load.documents}
    assert len(branches) == len(load.documents)
    opened = Counter(entry["head"]["ref"] for entry in await appliance.pull_requests())
    assert {branch: opened[branch] for branch in branches} == dict.fromkeys(branches, 1)
    assert {document["attempts"] for document in load.documents} == {1}


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many per cent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def summary(load: Load) -> str:
    """One line."""
    phases = load.phases
    overhead = [entry.overhead for entry in phases]
    agent = statistics.median(entry.agent for entry in phases)
    return (
        f"{len(phases)} tickets in {load.seconds:.0f} s, all in a pull request; overhead p50 "
        f"{percentile(overhead, 50):.2f} s, p99 {percentile(overhead, 99):.2f} s, most {max(overhead):.2f} s; the "
        f"agent {agent:.2f} s; consumers' memory {list(load.resident_mib.values())[-1]:.0f} MiB"
    )


def _note(appliance: Appliance, load: Load, document: dict[str, Any], say: Callable[[str], None]) -> None:
    load.documents.append(document)
    ended = len(load.documents)
    load.resident_mib[ended] = sum(kept.current.resident_megabytes() for kept in appliance.consumers.values())
    if ended % 10 == 0:
        say(f"{ended} tickets ended, the consumers have {load.resident_mib[ended]:.0f} MiB")


async def _ended(appliance: Appliance, development_id: str, seconds: float) -> dict[str, Any]:
    # Whoever measures shares the two processors with what is measured.
    return await appliance.developments.ended(development_id, seconds, every=0.5)
