"""A hundred tickets over four concurrent runners, with the real Gitea and Claude Code (`pytest -m drill`)."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from faults.load import burst, check, closed_loop, percentile, summary
from support.appliance import Appliance, appliance

TICKETS = 100
SIDE_BY_SIDE = 4
EARLY = 20
"""After so many tickets the consumers' memory is first looked at."""

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Appliance]:
    """Four consumers and four runners."""
    folder = tmp_path_factory.mktemp("load")
    async with appliance(folder, runners=SIDE_BY_SIDE, consumers=SIDE_BY_SIDE) as made:
        yield made


async def test_a_hundred_tickets_end_in_a_pull_request_each_within_the_appliances_own_time(running: Appliance) -> None:
    load = await closed_loop(running, TICKETS, in_flight=SIDE_BY_SIDE, say=print)
    await check(running, load)
    print(summary(load))
    overhead = [entry.overhead for entry in load.phases]
    assert percentile(overhead, 50) <= 3
    assert percentile(overhead, 99) <= 8
    assert load.growth(EARLY) < 0.1


async def test_a_hundred_tickets_at_once_end_in_a_pull_request_each(running: Appliance) -> None:
    load = await burst(running, TICKETS, say=print)
    await check(running, load)
    print(summary(load))
