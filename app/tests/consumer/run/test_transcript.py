"""The transcript is kept beside the run, never in its way."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from sdlc_agents.consumer.run.transcript import Run, keep_transcript
from sdlc_agents.kernel.clock import now
from sdlc_agents.runs.protocol import Message


class DeafRepository:
    """Stands in for a driver that swallows one cancellation, as `asyncio.wait_for` of Python 3.11 does now and then."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.stored: list[dict[str, Any]] = []

    async def add(self, events: list[dict[str, Any]]) -> None:
        self.asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.3)
        self.stored += events


async def test_a_cancellation_that_the_driver_swallows_does_not_hold_the_run_up() -> None:
    repository = DeafRepository()
    run = Run("development", "job", 1)
    began = asyncio.get_running_loop().time()
    async with (
        asyncio.timeout(20),
        keep_transcript(repository, run, str) as transcript,  # type: ignore[arg-type]
    ):
        transcript.add(Message(at=now(), text="hello"))
        await repository.asked.wait()
    assert asyncio.get_running_loop().time() - began < 15
    assert [event["text"] for event in repository.stored] == ["hello"]


class BrokenRepository:
    """Stands in for a database that cannot write what it is given."""

    async def add(self, events: list[dict[str, Any]]) -> None:
        raise OverflowError(f"{len(events)} that cannot be written")


async def test_events_that_cannot_be_stored_cost_the_run_nothing_and_hide_no_cancellation() -> None:
    under_way = asyncio.Event()

    async def run() -> None:
        async with keep_transcript(BrokenRepository(), Run("development", "job", 1), str) as transcript:  # type: ignore[arg-type]
            transcript.add(Message(at=now(), text="hello"))
            under_way.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await under_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
