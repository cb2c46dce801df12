"""docs/benchmarks/agent.md: what the appliance adds to an agent's own time."""

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import machine
from faults.load import Load, percentile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "agent.md"
EARLY, QUICK_EARLY = 20, 4
BAR_P50, BAR_P99, BAR_GROWTH = 3, 8, 10

_HOW = """\
Every part is the real one, on one machine: MongoDB, RabbitMQ, Gitea behind TLS, Claude Code, consumers, runners and the
gateway as processes; Jira is an emulator, and the model is the lab's scripted Messages API, which takes a second for
each of five answers (look at the tree, read, write a file, run the tests, finish). Runners end after each job and are
started again, as Docker does with them; what differs from a deployed host is that nothing is in a container.

**Overhead** is what the appliance itself adds to a ticket: *ticket accepted → pull request open*, minus *agent started
→ agent finished*, by the times in the development's document (`timings`):

| phase | from | until |
| --- | --- | --- |
| claiming | the webhook API stored the ticket | a consumer claimed the development |
| starting | | Claude Code runs: clone, bundle, a free runner, hand-over, the CLI's own start |
| agent (no overhead) | | Claude Code ended, its work is committed and packed |
| publishing | | the pull request is open: result fetched and checked, push, forge's answer |

A ticket that waits because all runners work on others waits for capacity, not for the appliance. So the overhead is
measured in a *closed loop*: as many tickets are under way as there are consumers, and the next is accepted when one
has ended, with a runner for each: what a ticket waits for, its runner's new start among it, then counts. The first
tickets come two and a half seconds apart, as tickets do not come in one second. The *second loop* has them begin
together. All agents take the same time here, so they stay together, and each step (start, push, pull request) is
asked for by all at once: the processors' and the forge's queues are measured then. The *burst* is all tickets at
once: it shows that none is lost and none worked on twice, and how long the whole takes.

The run fails unless every ticket ended in exactly one pull request, at the first attempt.
"""


@dataclass(frozen=True)
class Results:
    """What was measured; memory is compared with that after `early` tickets."""

    steady: Load
    together: Load
    at_once: Load
    side_by_side: int
    early: int


def bars(results: Results) -> list[str]:
    """The table of bars."""
    overhead = [entry.overhead for entry in results.steady.phases]
    tickets = len(overhead)
    first, last = results.steady.resident_mib[results.early], results.steady.resident_mib[tickets]
    rows = [
        (f"pull requests of {tickets} tickets, {results.side_by_side} at a time", str(tickets), "all, none twice"),
        (f"pull requests of {len(results.at_once.documents)} tickets at once", str(tickets), "all, none twice"),
        ("overhead, p50", f"{percentile(overhead, 50):.2f} s", f"≤ {BAR_P50} s"),
        ("overhead, p99", f"{percentile(overhead, 99):.2f} s", f"≤ {BAR_P99} s"),
        (
            f"memory of {results.side_by_side} consumers after {results.early} and after {tickets} tickets",
            f"{first:.0f} MiB, {last:.0f} MiB ({results.steady.growth(results.early):+.1%})",
            f"< +{BAR_GROWTH} %",
        ),
    ]
    return ["| what | measured | bar |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows), ""]


def write(results: Results) -> Path:
    """Write the page; its path."""
    lines = [
        "# Agent runs: what the appliance adds",
        "",
        f"`make bench-agent`, {datetime.now(tz=UTC):%Y-%m-%d}, on {machine()}.",
        "",
        *bars(results),
        "## How it is measured",
        "",
        _HOW,
        *_phases(f"Closed loop, {results.side_by_side} tickets under way", results.steady),
        *_phases(f"Closed loop, {results.side_by_side} tickets that begin and go on together", results.together),
        *_phases("Burst, all at once", results.at_once),
    ]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")
    return PAGE


def _phases(title: str, load: Load) -> list[str]:
    phases = load.phases
    figures = {
        "claiming": [entry.claiming for entry in phases],
        "starting": [entry.starting for entry in phases],
        "publishing": [entry.publishing for entry in phases],
        "**overhead**": [entry.overhead for entry in phases],
        "agent": [entry.agent for entry in phases],
    }
    return [
        f"## {title}",
        "",
        f"{len(phases)} tickets in {load.seconds:.0f} s. Seconds:",
        "",
        "| phase | median | p99 | most |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {statistics.median(values):.2f} | {percentile(values, 99):.2f} | {max(values):.2f} |"
            for name, values in figures.items()
        ),
        "",
    ]
