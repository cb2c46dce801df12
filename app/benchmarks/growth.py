"""What stored tickets cost: inserting and recognising a duplicate, as `webhook_events` grows to a million.

Both are done with the service's own code, in batches as large as 64 connections make them, against the growing
collection and, in turn, against one that stays small: the second shows what the machine itself did meanwhile.
"""

import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from benchmarks.tickets import STATUS, bodies
from benchmarks.world import World
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.migrations import schema
from sdlc_agents.webhooks.events import ReceivedEvent, StoreResult
from sdlc_agents.webhooks.payload import Ignored, TriggerRule, parse
from sdlc_agents.webhooks.repository import WebhookRepository

STEPS = (10_000, 100_000, 250_000, 500_000, 750_000, 1_000_000)
QUICK_STEPS = (10_000, 50_000, 100_000)
BATCH = 64
BATCHES = 300
FILL_BATCH = 1000
SMALL, GROWING = "small", "growing"


@dataclass(frozen=True)
class Step:
    """Medians at one size: milliseconds of a batch of `BATCH`, on the growing and on the small collection."""

    stored: int
    insert_ms: float
    insert_small_ms: float
    duplicate_ms: float
    duplicate_small_ms: float


class _Collection:
    """One of the two, and how many of its tickets exist."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.repository = WebhookRepository(database, "growth")
        self.size = 0

    def tickets(self, count: int, first: int) -> list[ReceivedEvent]:
        return [_event(body, number) for number, body in enumerate(islice(bodies("GROW", first), count), first)]

    def take(self, count: int) -> list[ReceivedEvent]:
        self.size += count
        return self.tickets(count, self.size - count)

    async def timed(self, events: Sequence[ReceivedEvent], outcome: StoreResult) -> float:
        """Milliseconds of storing them, which must come to this."""
        started = time.perf_counter()
        outcomes = await self.repository.store(events)
        elapsed = (time.perf_counter() - started) * 1000
        if any(found is not outcome for found in outcomes):
            raise RuntimeError(f"not all of the tickets were {outcome.value}")
        return elapsed

    async def fill(self, size: int) -> None:
        """Have that many tickets, stored and published."""
        while self.size < size:
            documents = [
                {**event.document(), "state": "published", "processed_at": event.received_at}
                for event in self.take(min(FILL_BATCH, size - self.size))
            ]
            await self.database["webhook_events"].insert_many(documents, ordered=False)


async def growth(world: World, steps: Sequence[int], say: Callable[[str], None]) -> AsyncIterator[Step]:
    """Measure at each size."""
    await schema.migrate(world.database(GROWING))
    await schema.migrate(world.database(SMALL))
    growing, small = _Collection(world.database(GROWING)), _Collection(world.database(SMALL))
    await small.fill(steps[0])
    for size in steps:
        await growing.fill(size)
        await world.client.admin.command("fsync")  # what the filling left to write is not part of a ticket's cost
        step = await _measure(growing, small, size)
        say(
            f"{size:9,} tickets stored: {BATCH} more in {step.insert_ms:.1f} ms (small {step.insert_small_ms:.1f}), "
            f"{BATCH} duplicates seen in {step.duplicate_ms:.1f} ms (small {step.duplicate_small_ms:.1f})"
        )
        yield step


async def _measure(growing: _Collection, small: _Collection, size: int) -> Step:
    inserts: dict[str, list[float]] = {GROWING: [], SMALL: []}
    duplicates: dict[str, list[float]] = {GROWING: [], SMALL: []}
    pair = [(GROWING, growing), (SMALL, small)]
    for number in range(BATCHES):
        pair.reverse()  # neither is always the one that comes after the other
        for name, collection in pair:
            inserts[name].append(await collection.timed(collection.take(BATCH), StoreResult.STORED))
            # Spread over all that is stored, so that the index is read where it is not in use anyway.
            again = collection.tickets(BATCH, number * (collection.size - BATCH) // BATCHES)
            duplicates[name].append(await collection.timed(again, StoreResult.DUPLICATE))
    return Step(
        size,
        statistics.median(inserts[GROWING]),
        statistics.median(inserts[SMALL]),
        statistics.median(duplicates[GROWING]),
        statistics.median(duplicates[SMALL]),
    )


def _event(body: bytes, number: int) -> ReceivedEvent:
    delivery = parse(body, lambda _project_key: TriggerRule(STATUS))
    assert not isinstance(delivery, Ignored)  # noqa: S101 - `bodies` makes triggers only
    # As Jira names deliveries: in no order, so that every insert meets another page of the index.
    identifier = f"{number * 2_654_435_761 % 2**32:08x}-{number}"
    return ReceivedEvent(
        id=new_id(),
        development_id=new_id(),
        delivery_id=identifier,
        received_at=now(),
        raw_payload=body.decode(),
        delivery=delivery,
    )
