"""`make bench-ingest`; with BENCH_QUICK=1 fewer and shorter rounds."""

import asyncio
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.rounds import CONNECTIONS, VARIANTS, Measure, bench, median
from benchmarks.world import world

STARTED = time.monotonic()


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"[bench {time.monotonic() - STARTED:4.0f}s] {text}", flush=True)


async def main() -> None:
    """Measure and tell."""
    rounds, seconds = (1, 3.0) if os.environ.get("BENCH_QUICK") else (3, 6.0)
    measures: dict[tuple[str, int], list[Measure]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        async with world() as here, bench(here, Path(folder)) as running:
            for number in range(1, rounds + 1):
                await running.begin()
                for connections in CONNECTIONS:
                    for variant in VARIANTS:
                        measure = await running.measure(variant, connections, seconds)
                        measures[variant, connections].append(measure)
                        say(f"round {number}/{rounds}, {connections:3} connections, {variant:8}{_figures(measure)}")
            say(f"most memory of the service: {running.servers['publish'].most_resident_mib():.0f} MiB")
    for (variant, connections), values in measures.items():
        say(f"median, {connections:3} connections, {variant:8}{_figures(median(values))}")


def _figures(measure: Measure) -> str:
    return (
        f"{measure.requests_per_second:8.0f}/s  p50 {measure.p50_ms:7.2f} ms  p99 {measure.p99_ms:7.2f} ms"
        f"  {measure.cpu_us_per_request:5.0f} us of CPU a request"
    )


if __name__ == "__main__":
    asyncio.run(main())
