"""The fixtures of hostile runs: those of any agent run, with runners shut in as far as that goes without Docker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hostile_runs.sandbox import shut_in
from hostile_runs.siege import Siege
from support.agents import RunnerProcesses, StartConsumer
from support.backends import EveryService
from support.world import World


@pytest.fixture
async def runners(tmp_path: Path) -> AsyncIterator[RunnerProcesses]:
    """Runners in process and mount namespaces of their own, without capabilities, with a small /job."""
    async with AsyncExitStack() as stack:
        processes = RunnerProcesses(stack, tmp_path, shut_in)
        try:
            yield processes
        finally:
            await processes.stop()


@pytest.fixture
async def siege(world: World, start_consumer: StartConsumer, every_service: EveryService) -> Siege:
    """Plays hostile cases in the world, and checks what must hold after each."""
    return Siege.of(world, start_consumer, every_service)
