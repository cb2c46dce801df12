"""The real Gitea (built on first use): the bot may do its work in demo/shop and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.console import LabError
from lab.services import secrets
from lab.services.gitea import start_local, stop_local
from lab.services.gitea.seed import Api

SHOP = "/repos/demo/shop"
CHANGE = {"content": "aGVsbG8K", "message": "A file"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gitea")


@pytest.fixture(scope="module")
def url(directory: Path) -> Iterator[str]:
    running = start_local(directory)
    secrets.write(directory / "bot_token", running.token)
    yield running.url
    stop_local(running.url)


@pytest.fixture
def bot(url: str, directory: Path) -> Api:
    return Api(url, secrets.read(directory / "bot_token"))


@pytest.fixture
def admin(url: str, directory: Path) -> Api:
    return Api(url, secrets.read(directory / "admin_token"))


def test_the_shop_is_there_with_its_files(bot: Api) -> None:
    names = {entry["path"] for entry in bot.call("GET", f"{SHOP}/contents")}
    assert {".gitignore", "README.md", "pyproject.toml", "src", "tests"} == names


def test_the_bot_opens_a_pull_request_once(bot: Api) -> None:
    bot.call("POST", f"{SHOP}/contents/hello.txt", {**CHANGE, "new_branch": "feature/SHOP-1"})
    request = {"title": "[SHOP-1] Hello", "head": "feature/SHOP-1", "base": "main"}
    assert bot.call("POST", f"{SHOP}/pulls", request)["number"] == 1
    with pytest.raises(LabError, match="409"):
        bot.call("POST", f"{SHOP}/pulls", request)


def test_the_bot_does_not_write_to_main(bot: Api) -> None:
    with pytest.raises(LabError, match=r"answered 4\d\d"):
        bot.call("POST", f"{SHOP}/contents/hello.txt", {**CHANGE, "branch": "main"})


@pytest.mark.parametrize("path", ["/admin/users", "/notifications"])
def test_the_bots_token_opens_nothing_else(bot: Api, admin: Api, path: str) -> None:
    with pytest.raises(LabError, match="403"):
        bot.call("GET", path)
    assert admin.call("GET", path) is not None


def test_a_wrong_token_is_refused(url: str) -> None:
    with pytest.raises(LabError, match="401"):
        Api(url, "0" * 40).call("GET", SHOP)
