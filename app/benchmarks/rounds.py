"""The measurement: every variant in turn at every number of connections, then all again: noise hits all alike."""

import asyncio
import secrets
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.against import HERE, Code
from benchmarks.processes import Server, build_load, load, server
from benchmarks.tickets import write_requests
from benchmarks.world import World

VARIANTS = ("verify", "store", "publish", "before", "usual", "usual_before")
FORMER = {"before": "publish", "usual_before": "usual"}
"""What is measured of the commit that BENCH_AGAINST names, if it does, and the names of it there."""
PUBLISHING = ("publish", "before")
CONNECTIONS = (1, 16, 64, 256)
WARM_UP_SECONDS = 0.5
MOST_PER_SECOND = {
    "verify": 14_000,
    "store": 9_000,
    "publish": 7_000,
    "before": 7_000,
    "usual": 4_000,
    "usual_before": 4_000,
}
DRAIN_SECONDS = 60.0
PROJECT = "BENCH"


@dataclass(frozen=True)
class Measure:
    """One variant at one number of connections: one round, or the median of several."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float
    drain_seconds: float


@dataclass
class Bench:
    """What the rounds share."""

    world: World
    environments: dict[str, dict[str, str]]
    codes: dict[str, Code]
    servers: dict[str, Server]
    program: Path
    requests: Path
    secret: bytes
    next_ticket: int = 0
    accepted: Counter[str] = field(default_factory=Counter)

    async def begin(self) -> None:
        """Empty all databases and the queue, as a round finds them."""
        self.accepted.clear()
        for variant in self.servers:
            await self.world.empty(variant)
            await self.migrate(variant)

    async def migrate(self, variant: str) -> None:
        """Give its database the shape that its code wants."""
        await asyncio.to_thread(self.codes[variant].migrate, self.environments[variant])

    async def measure(self, variant: str, connections: int, seconds: float) -> Measure:
        """Load one variant.

        Raises `RuntimeError` when not every accepted ticket is stored and, where it is published, in the queue.
        """
        await self.world.purge()
        target = self.servers[variant]
        warm = await self._load(target, connections, WARM_UP_SECONDS)
        await self._drained(variant)
        cpu = target.cpu_seconds()
        told = await self._load(target, connections, seconds)
        ended = time.perf_counter()
        await self._drained(variant)
        # A ticket that is not yet with the broker does not count: the time until it is belongs to the round.
        drain = time.perf_counter() - ended if variant in PUBLISHING else 0.0
        await self._check(variant, int(told["good"] + warm["good"]))
        return Measure(
            requests_per_second=told["good"] / (told["seconds"] + drain),
            p50_ms=told["p50_ms"],
            p99_ms=told["p99_ms"],
            cpu_us_per_request=(target.cpu_seconds() - cpu) / told["good"] * 1e6,
            drain_seconds=drain,
        )

    async def _load(self, target: Server, connections: int, seconds: float) -> dict[str, float]:
        count = int(MOST_PER_SECOND[target.variant] * seconds) + connections
        await asyncio.to_thread(
            write_requests, self.requests, count, project_key=PROJECT, first=self.next_ticket, secret=self.secret
        )
        self.next_ticket += count
        return await load(self.program, target, connections, seconds, self.requests)

    async def _drained(self, variant: str) -> None:
        if variant in PUBLISHING:
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self.world.count(variant, "stored"):  # noqa: ASYNC110 - another process publishes
                    await asyncio.sleep(0.005)

    async def _check(self, variant: str, accepted: int) -> None:
        self.accepted[variant] += 0 if variant == "verify" else accepted
        if (found := await self.world.count(variant)) != self.accepted[variant]:
            raise RuntimeError(f"{variant}: {self.accepted[variant]} tickets accepted, {found} stored")
        if variant in PUBLISHING and (found := await self.world.queued()) != accepted:
            raise RuntimeError(f"{variant}: {accepted} tickets accepted, {found} in the queue")


@asynccontextmanager
async def bench(world: World, folder: Path, former: Code | None) -> AsyncIterator[Bench]:
    """All variants running, and the load generator built."""
    secret = secrets.token_hex(24)
    codes = {variant: HERE for variant in VARIANTS if variant not in FORMER}
    if former is not None:
        codes |= dict.fromkeys(FORMER, former)
    environments = {
        variant: {
            **world.environment,
            "MONGO_DATABASE": world.database_name(variant),
            "JIRA_WEBHOOK_SECRET": secret,
        }
        for variant in codes
    }
    running = Bench(world, environments, codes, {}, await build_load(folder), folder / "requests", secret.encode())
    async with AsyncExitStack() as stack:
        for variant, code in codes.items():
            await running.migrate(variant)
            log = folder / f"{variant}.log"
            started = server(variant, environments[variant], log, code, FORMER.get(variant, variant))
            running.servers[variant] = await stack.enter_async_context(started)
        yield running


def median(measures: Sequence[Measure]) -> Measure:
    """The median of each figure."""
    names = Measure.__dataclass_fields__
    return Measure(**{name: statistics.median(getattr(measure, name) for measure in measures) for name in names})
