"""`make bench-ingest`: measure, then write docs/benchmarks/ingest.md; with BENCH_QUICK=1 measure less and only tell.

BENCH_AGAINST=<git ref> measures the service of that commit as well, in turn with the others.
"""

import asyncio
import os
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from benchmarks.against import Code, code_at
from benchmarks.growth import QUICK_STEPS, STEPS, growth
from benchmarks.progress import say
from benchmarks.report import Results, bars, write
from benchmarks.rounds import CONNECTIONS, Measure, bench, median
from benchmarks.world import World, world


async def main() -> None:
    """Measure and write."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    quick = bool(os.environ.get("BENCH_QUICK"))
    rounds, seconds = (1, 3.0) if quick else (3, 6.0)
    async with AsyncExitStack() as stack:
        ref = os.environ.get("BENCH_AGAINST")
        former = await stack.enter_async_context(code_at(ref)) if ref else None
        here = await stack.enter_async_context(world())
        measures, resident_mib = await _rounds(here, former, rounds, seconds)
        steps = [step async for step in growth(here, QUICK_STEPS if quick else STEPS, say)]
    results = Results(measures, steps, resident_mib, rounds, seconds, former.commit if former else None)
    print("\n".join(bars(results)))
    if not quick:
        say(f"written: {await asyncio.to_thread(write, results)}")


async def _rounds(
    here: World, former: Code | None, rounds: int, seconds: float
) -> tuple[dict[tuple[str, int], Measure], dict[str, float]]:
    """The medians, and the most memory of each server."""
    measures: dict[tuple[str, int], list[Measure]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        async with bench(here, Path(folder), former) as running:
            for number in range(1, rounds + 1):
                await running.begin()
                for connections in CONNECTIONS:
                    for variant in running.servers:
                        measure = await running.measure(variant, connections, seconds)
                        measures[variant, connections].append(measure)
                        say(f"round {number}/{rounds}, {connections:3} connections, {variant:8}{_figures(measure)}")
            resident_mib = {variant: server.most_resident_mib() for variant, server in running.servers.items()}
    return {key: median(values) for key, values in measures.items()}, resident_mib


def _figures(measure: Measure) -> str:
    return (
        f"{measure.requests_per_second:8.0f}/s  p50 {measure.p50_ms:7.2f} ms  p99 {measure.p99_ms:7.2f} ms"
        f"  {measure.cpu_us_per_request:5.0f} us of CPU a request"
    )


if __name__ == "__main__":
    asyncio.run(main())
