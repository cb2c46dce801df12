"""Repository addresses."""

import httpx
import pytest

from sdlc_agents import forges
from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.model import ForgeError


@pytest.mark.parametrize(
    ("url", "base", "clone_url"),
    [
        ("https://git.example/demo/shop", "https://git.example", "https://git.example/demo/shop.git"),
        ("https://git.example/demo/shop.git/", "https://git.example", "https://git.example/demo/shop.git"),
        (
            "https://git.example:8443/forge/demo/shop",
            "https://git.example:8443/forge",
            "https://git.example:8443/forge/demo/shop.git",
        ),
    ],
)
def test_an_address_is_taken_apart(url: str, base: str, clone_url: str) -> None:
    address = RepositoryAddress.parse(url)
    assert (address.base, address.owner, address.name) == (base, "demo", "shop")
    assert address.clone_url == clone_url
    assert address.origin == base.removesuffix("/forge")


@pytest.mark.parametrize(
    "url", ["http://git.example/demo/shop", "https://git.example/shop", "https://u:p@git.example/demo/shop", "x"]
)
def test_what_is_no_https_repository_is_refused(url: str) -> None:
    with pytest.raises(ForgeError, match="https address"):
        RepositoryAddress.parse(url)


async def test_a_forge_without_a_provider_is_named() -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(ForgeError, match="GitHub"):
            forges.connect("https://github.com/demo/shop", "token", client)
