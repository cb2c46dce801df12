"""Which repository a ticket is about."""

from typing import Any

import pytest

from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.projects.repository_selection import choose_repository

SHOP = {"repository_id": "shop", "url": "https://git.example/demo/shop"}
TILL = {"repository_id": "till", "url": "https://git.example/demo/till"}


def component(name: str, description: str = "") -> dict[str, str]:
    return {"name": name, "description": description}


@pytest.mark.parametrize(
    "named",
    [
        component("till"),
        component("Till"),
        component("https://git.example/demo/till"),
        component("https://git.example/demo/till.git/"),
        component("Checkout", "till"),
        component("Checkout", "The code is at https://git.example/demo/till"),
    ],
)
def test_a_component_names_it(named: dict[str, str]) -> None:
    assert choose_repository([SHOP, TILL], [component("other"), named]) is TILL


def test_the_only_one_needs_no_name() -> None:
    assert choose_repository([SHOP], [component("something else")]) is SHOP


@pytest.mark.parametrize("components", [[], [component("other")], [component("shop"), component("till")]])
def test_when_it_is_not_clear_the_candidates_are_listed(components: list[dict[str, Any]]) -> None:
    with pytest.raises(RunFailedError) as caught:
        choose_repository([SHOP, TILL], components)
    for candidate in (SHOP, TILL):
        assert f"{candidate['repository_id']} ({candidate['url']})" in caught.value.message


def test_an_empty_description_names_nothing() -> None:
    with pytest.raises(RunFailedError):
        choose_repository([SHOP, TILL], [component("", "")])
