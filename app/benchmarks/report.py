"""docs/benchmarks/ingest.md: tables, bars, and plots beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.growth import BATCH, Step
from benchmarks.machine import machine
from benchmarks.plots import plot_growth, plot_latency, plot_throughput
from benchmarks.rounds import CONNECTIONS, VARIANTS, Measure

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
NAMES = {
    "verify": "verify",
    "store": "verify + store",
    "publish": "verify + store + confirmed publish",
    "before": "the same, of the commit before",
    "usual": "reference: the usual implementation",
    "usual_before": "reference, of the commit before",
}
AT = 64
BAR_RATIO, BAR_BEFORE, AIM_PER_SECOND, BAR_MIB, BAR_SLOWER = 3, 0.9, 3100, 150, 10

_HOW = """\
These servers take the same load in turn, on the same cores as MongoDB, RabbitMQ and the load generator:

- **verify**: check the signature, read the ticket.
- **verify + store**: and store it, group commit, `w: majority, j: true`.
- **verify + store + confirmed publish**: jira-webhook-api as it is deployed, one process: and create the development,
  publish it `mandatory` with confirms, mark the event published.
- **reference**: the same HTTP server (uvicorn, httptools, uvloop), checks and event document; inside each request one
  `insert_one` (`w: majority, j: true`) and one publish without confirm. No development, no mark, no metrics, no log.

MongoDB is a replica set of one member with TLS, SCRAM and the cache that the smallest appliance gives it; RabbitMQ has
a quorum queue behind TLS. Every ticket is another one, 1.5 kB, signed, with a delivery identifier of its own.
Connections are kept open; each sends its next ticket when the last was answered. A run fails unless every answer is 200
`accepted`, every accepted ticket is in the database once, and, with publish, in the queue once.

With publish, the time from the last answer until the last ticket is confirmed and marked belongs to the measurement:
requests/s is accepted *and* published tickets by that whole time. CPU is the server process's alone.
"""


@dataclass(frozen=True)
class Results:
    """What was measured: medians, and the most memory that each server has had (MiB); `before` is a commit."""

    measures: Mapping[tuple[str, int], Measure]
    steps: Sequence[Step]
    resident_mib: Mapping[str, float]
    rounds: int
    seconds: float
    before: str | None

    @property
    def names(self) -> dict[str, str]:
        """The servers that were measured, as a reader knows them."""
        return {variant: NAMES[variant] for variant in VARIANTS if variant in self.resident_mib}


def write(results: Results) -> Path:
    """Write page and plots; the page's path."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    plot_throughput(FOLDER / "ingest-throughput.svg", results.measures, results.names, CONNECTIONS)
    plot_latency(FOLDER / "ingest-latency.svg", results.measures, results.names, CONNECTIONS)
    plot_growth(FOLDER / "ingest-growth.svg", results.steps)
    page = FOLDER / "ingest.md"
    page.write_text("\n".join([*_head(results), *bars(results), *_tables(results), *_growth(results)]) + "\n")
    return page


def bars(results: Results) -> list[str]:
    """The table of bars."""
    full, usual = results.measures["publish", AT], results.measures["usual", AT]
    lonely = {variant: results.measures[variant, 1].p50_ms for variant in ("publish", "usual")}
    first, last = results.steps[0], results.steps[-1]
    insert = slower(first.insert_ms / first.insert_small_ms, last.insert_ms / last.insert_small_ms)
    duplicate = slower(first.duplicate_ms / first.duplicate_small_ms, last.duplicate_ms / last.duplicate_small_ms)
    rows = [
        (
            f"requests/s of the full service by the reference's, {AT} connections",
            f"{full.requests_per_second / usual.requests_per_second:.2f}",
            f"≥ {BAR_RATIO}",
        ),
        *_against(results),
        ("its p50, and the reference's, 1 connection", f"{lonely['publish']:.2f} ms, {lonely['usual']:.2f} ms", "≤"),
        (f"its p99, and the reference's, {AT} connections", f"{full.p99_ms:.1f} ms, {usual.p99_ms:.1f} ms", "lower"),
        (f"its requests/s, {AT} connections", f"{full.requests_per_second:.0f}", f"aim: ≥ {AIM_PER_SECOND}"),
        ("its most resident memory", f"{results.resident_mib['publish']:.0f} MiB", f"≤ {BAR_MIB} MiB"),
        (f"insert slower at {last.stored:,} tickets", f"{insert:+.1f} %", f"≤ {BAR_SLOWER} %"),
        (f"duplicate check slower at {last.stored:,} tickets", f"{duplicate:+.1f} %", f"≤ {BAR_SLOWER} %"),
    ]
    return ["| what | measured | bar |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _against(results: Results) -> list[tuple[str, str, str]]:
    if results.before is None:
        return []
    full, former = results.measures["publish", AT], results.measures["before", AT]
    ratio = full.requests_per_second / former.requests_per_second
    memory = f"{results.resident_mib['before']:.0f} MiB"
    reference = full.requests_per_second / results.measures["usual_before", AT].requests_per_second
    return [
        (f"its requests/s by those of {results.before}, {AT} connections", f"{ratio:.2f}", f"≥ {BAR_BEFORE}"),
        (
            f"its requests/s by the reference's of {results.before}, {AT} connections",
            f"{reference:.2f}",
            f"≥ {BAR_RATIO}",
        ),
        (f"most resident memory of {results.before}", memory, ""),
    ]


def slower(first: float, last: float) -> float:
    """By how many per cent the last is more than the first."""
    return (last / first - 1) * 100


def _head(results: Results) -> list[str]:
    command = "make bench-ingest" if results.before is None else f"BENCH_AGAINST={results.before} make bench-ingest"
    return [
        "# Taking tickets: speed and memory",
        "",
        f"`{command}`, {datetime.now(tz=UTC):%Y-%m-%d}, on {machine()}.",
        f"Medians of {results.rounds} rounds; each has {results.seconds:g} s of every server and every load.",
        "",
    ]


def _tables(results: Results) -> list[str]:
    lines = ["## Throughput and latency", "", _HOW]
    lines += ["![requests per second](ingest-throughput.svg)", "", "![p99](ingest-latency.svg)", ""]
    lines += [
        "| connections | server | requests/s | p50 ms | p99 ms | CPU µs a request |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for connections in CONNECTIONS:
        for variant, name in results.names.items():
            measure = results.measures[variant, connections]
            lines.append(
                f"| {connections} | {name} | {measure.requests_per_second:.0f} | {measure.p50_ms:.2f} "
                f"| {measure.p99_ms:.2f} | {measure.cpu_us_per_request:.0f} |"
            )
    return [*lines, ""]


def _growth(results: Results) -> list[str]:
    lines = [
        "## As stored tickets grow",
        "",
        f"Milliseconds to store {BATCH} tickets with one write, and to recognise {BATCH} that are stored already,",
        "picked from all over the collection, by the service's own code; medians. The *small* collection stays near",
        f"its first {results.steps[0].stored:,} tickets and is measured in turn with the growing one, so that what the",
        "machine did meanwhile shows in both; the bars above compare the two.",
        "",
        "![cost by stored tickets](ingest-growth.svg)",
        "",
        "| stored tickets | insert ms | insert, small | duplicate ms | duplicate, small |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {step.stored:,} | {step.insert_ms:.2f} | {step.insert_small_ms:.2f} "
        f"| {step.duplicate_ms:.2f} | {step.duplicate_small_ms:.2f} |"
        for step in results.steps
    ]
    return lines
