"""A cancelled task ends, also when what it waits for is done at the same moment."""

import asyncio
import subprocess
import sys

import pytest

from sdlc_agents.kernel.waiting import wait_for
from support.processes import SOURCE, bare_environment

CANCELLED_AT_THE_LAST_MOMENT = """
import asyncio
from sdlc_agents.commands import cli
from sdlc_agents.kernel.serving import run_until_stopped

async def service(_stop):
    for turns in range(10):
        done = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(asyncio.wait_for(done, 10))
        await asyncio.sleep(0)
        done.set_result("the result")
        task.cancel()
        await asyncio.wait({task})
        print(task.cancelled())

def run():
    run_until_stopped(service)

cli.SERVICES["a-service"] = "__main__:run"
cli.main(["a-service"])
"""


def test_a_service_loses_no_cancellation_to_a_library_that_waits() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CANCELLED_AT_THE_LAST_MOMENT],
        env={**bare_environment(), "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == ["True"] * 10


async def test_it_waits_as_asyncio_does() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 7

    assert await wait_for(answer(), 10) == 7
    assert await wait_for(answer(), None) == 7
    for seconds in (0.0, 0.01):
        with pytest.raises(TimeoutError):
            await wait_for(asyncio.sleep(10), seconds)
