"""`make bench-agent`: a hundred tickets through a whole appliance, then docs/benchmarks/agent.md.

With BENCH_QUICK=1 a few tickets, and nothing is written. The appliance is that of the fault drills (`tests/faults`,
`tests/support/appliance.py`): it needs .venv-app alone.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

import structlog

from benchmarks.agent_report import EARLY, QUICK_EARLY, Results, bars, write
from benchmarks.progress import say
from faults.load import Load, burst, check, closed_loop, summary
from support.appliance import appliance

TICKETS, TOGETHER_TICKETS, QUICK_TICKETS = 100, 40, 16
SIDE_BY_SIDE = 4


async def main() -> None:
    """Measure and write."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    quick = bool(os.environ.get("BENCH_QUICK"))
    tickets, few = (QUICK_TICKETS, QUICK_TICKETS) if quick else (TICKETS, TOGETHER_TICKETS)
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as folder:
        say("MongoDB, RabbitMQ, Gitea, Jira, the scripted Claude, 4 consumers and 4 runners start")
        async with appliance(Path(folder), runners=SIDE_BY_SIDE, consumers=SIDE_BY_SIDE) as running:

            async def measured(what: str, loading: Awaitable[Load]) -> Load:
                say(what)
                load = await loading
                await check(running, load)
                say(summary(load))
                return load

            loop = partial(closed_loop, running, in_flight=SIDE_BY_SIDE, say=say)
            side_by_side = f"tickets, {SIDE_BY_SIDE} at a time"
            steady = await measured(f"{tickets} {side_by_side}", loop(tickets))
            together = await measured(f"{few} {side_by_side}, which begin together", loop(few, arrival_seconds=0))
            at_once = await measured(f"{tickets} tickets at once", burst(running, tickets, say=say))
    results = Results(steady, together, at_once, SIDE_BY_SIDE, QUICK_EARLY if quick else EARLY)
    print("\n".join(bars(results)))
    if not quick:
        say(f"written: {await asyncio.to_thread(write, results)}")


if __name__ == "__main__":
    asyncio.run(main())
