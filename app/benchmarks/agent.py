"""`make bench-agent`: a hundred tickets through a whole appliance, then docs/benchmarks/agent.md.

With BENCH_QUICK=1 a few tickets, and nothing is written. The appliance is that of the fault drills (`tests/faults`,
`tests/support/appliance.py`): it needs .venv-app alone.
"""

import asyncio
import os
import tempfile
from pathlib import Path

import structlog

from benchmarks.agent_report import EARLY, QUICK_EARLY, Results, bars, write
from benchmarks.progress import say
from faults.load import burst, check, closed_loop, summary
from support.appliance import appliance

TICKETS, TOGETHER_TICKETS, QUICK_TICKETS = 100, 40, 16
SIDE_BY_SIDE = 4


async def main() -> None:
    """Measure and write."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    quick = bool(os.environ.get("BENCH_QUICK"))
    tickets = QUICK_TICKETS if quick else TICKETS
    with tempfile.TemporaryDirectory(prefix="bench-agent-") as folder:
        say("MongoDB, RabbitMQ, Gitea, Jira, the scripted Claude, 4 consumers and 4 runners start")
        async with appliance(Path(folder), runners=SIDE_BY_SIDE, consumers=SIDE_BY_SIDE) as running:
            say(f"{tickets} tickets, {SIDE_BY_SIDE} at a time")
            steady = await closed_loop(running, tickets, in_flight=SIDE_BY_SIDE, say=say)
            await check(running, steady)
            say(summary(steady))
            together_tickets = QUICK_TICKETS if quick else TOGETHER_TICKETS
            say(f"{together_tickets} tickets, {SIDE_BY_SIDE} at a time, which begin together")
            together = await closed_loop(running, together_tickets, in_flight=SIDE_BY_SIDE, say=say, arrival_seconds=0)
            await check(running, together)
            say(summary(together))
            say(f"{tickets} tickets at once")
            at_once = await burst(running, tickets, say=say)
            await check(running, at_once)
            say(summary(at_once))
    results = Results(steady, together, at_once, SIDE_BY_SIDE, QUICK_EARLY if quick else EARLY)
    print("\n".join(bars(results)))
    if not quick:
        say(f"written: {await asyncio.to_thread(write, results)}")


if __name__ == "__main__":
    asyncio.run(main())
