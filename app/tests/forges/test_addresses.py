"""Repository addresses."""

import pytest

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


@pytest.mark.parametrize(
    ("url", "prefix_steps", "base", "path", "encoded"),
    [
        ("https://git.example/demo/shop", 0, "https://git.example", "demo/shop", "demo%2Fshop"),
        ("https://git.example/a/b/c/shop.git", 0, "https://git.example", "a/b/c/shop", "a%2Fb%2Fc%2Fshop"),
        ("https://git.example/lab/a/b/shop", 1, "https://git.example/lab", "a/b/shop", "a%2Fb%2Fshop"),
    ],
)
def test_groups_within_groups_belong_to_the_owner_when_the_forges_place_is_known(
    url: str, prefix_steps: int, base: str, path: str, encoded: str
) -> None:
    address = RepositoryAddress.parse(url, prefix_steps=prefix_steps)
    assert (address.base, address.path, address.encoded_path) == (base, path, encoded)
    assert address.clone_url == f"{base}/{path}.git"


def test_a_path_that_is_all_prefix_names_no_repository() -> None:
    with pytest.raises(ForgeError, match="https address"):
        RepositoryAddress.parse("https://git.example/lab/shop", prefix_steps=1)
