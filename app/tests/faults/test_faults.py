"""A run survives `kill -9` of any part at any moment: one pull request or one clear failure, one final comment.

The drill (`pytest -m drill tests/faults`) kills each of five parts at each of thirteen moments. Which moments these are
stands in `points.py`, what must hold in `strikes.check`.
"""

import gc
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from faults.points import POINTS, Point
from faults.strikes import HEAD, PARTS, Strike, strike, sums
from support.appliance import Appliance, appliance

LEASE_SECONDS = 5
"""Short, so that a drill takes minutes; how often idle consumers look for what was left is the product's own."""

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Appliance]:
    """Two consumers, two runners and what they need."""
    settings = {"LEASE_SECONDS": str(LEASE_SECONDS)}
    with warnings.catch_warnings():
        # Drivers leave sockets half open when an engine is killed under them; collect those here, not in another test.
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        folder = tmp_path_factory.mktemp("faults-appliance-")
        async with appliance(folder, runners=2, consumers=2, given=settings) as made:
            yield made
        gc.collect()


@pytest.fixture(scope="module")
def strikes() -> Iterator[list[Strike]]:
    """What was found; its sums are told at the end."""
    print(f"\n{HEAD}")
    found: list[Strike] = []
    yield found
    print(f"\n{sums(found)}")


@pytest.mark.timeout(600)
async def test_a_run_survives_the_death_of_each_part(running: Appliance, strikes: list[Strike]) -> None:
    moments = ("pushed, not heard", "tool call", "model asked", "agent finished", "before the end is stored")
    for part, moment in zip(PARTS, moments, strict=True):
        (point,) = (point for point in POINTS if point.name == moment)
        strikes.append(await strike(running, part, point))
        print(strikes[-1])


@pytest.mark.drill
@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
@pytest.mark.parametrize("part", PARTS)
async def test_a_run_survives_the_death_of_any_part_at_any_moment(
    running: Appliance, strikes: list[Strike], part: str, point: Point
) -> None:
    strikes.append(await strike(running, part, point))
    print(strikes[-1])
