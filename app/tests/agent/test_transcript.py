"""The transcript is kept beside the run, never in its way."""

import asyncio
from contextlib import suppress
from typing import Any

from sdlc_agents.agent.transcript import Run, keep_transcript
from sdlc_agents.clock import now
from sdlc_agents.runner.protocol import Message


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
