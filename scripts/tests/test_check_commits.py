"""scripts/check_commits, in repositories that are made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "check_commits"
GOOD = "Refuse a second key\n\nTwo keys with one name made the audit log ambiguous."
# Neither the settings nor the hooks of who runs the tests.
ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    **{
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Test"), ("EMAIL", "test@example.invalid"))
    },
}


class Repository:
    """A Git repository in a folder of the test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str, text: str = "") -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.path, env=ENVIRONMENT, input=text, capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self, message: str) -> str:
        """Make an empty commit with exactly this message; its id."""
        self.git("commit", "--allow-empty", "--cleanup=verbatim", "--file=-", text=message)
        return self.git("rev-parse", "HEAD")

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            cwd=self.path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Repository]:
    """Make a repository with one commit that no rule holds for."""

    def made() -> Repository:
        repository = Repository(tmp_path / "work")
        repository.path.mkdir()
        repository.git("init", "--quiet", "--initial-branch=main")
        repository.commit(
            "An old subject that is much longer than anybody would allow a new one to be, and has no body."
        )
        return repository

    return made


@pytest.fixture
def repository(make: Callable[[], Repository]) -> Repository:
    return make()


@pytest.fixture
def base(repository: Repository) -> str:
    return repository.git("rev-parse", "HEAD")


def test_good_messages_pass_and_old_ones_are_not_looked_at(repository: Repository, base: str) -> None:
    repository.commit(GOOD)
    repository.commit("s" * 72 + "\n\nIt is exactly as long as allowed.")
    result = repository.check("--base", base)
    assert (result.returncode, result.stdout.strip()) == (0, "commits: 2 checked, none is wrong")


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("s" * 73 + "\n\nWhy.", "the subject has 73 characters; shorten it to 72 or fewer"),
        ("Refuse a second key.\n\nWhy.", "the subject ends with a period; remove it"),
        ("Refuse a second key\nWhy.", "the second line is not empty"),
        ("Refuse a second key", "there is no body; say in it why"),
        ("Refuse a second key\n\n  \n", "there is no body; say in it why"),
        ("Refuse a second key\n\nSigned-off-by: Test <test@example.invalid>", "there is no body; say in it why"),
    ],
)
def test_a_wrong_message_is_named_with_what_to_do(
    repository: Repository, base: str, message: str, complaint: str
) -> None:
    wrong = repository.commit(message)
    repository.commit(GOOD)
    result = repository.check("--base", base)
    assert result.returncode == 1
    assert wrong[:10] in result.stderr
    assert complaint in result.stderr
    assert "1 of 2 are wrong. Reword them" in result.stderr


def test_all_that_is_wrong_with_a_message_is_told_at_once(repository: Repository, base: str) -> None:
    repository.commit("s" * 80 + ".")
    result = repository.check("--base", base)
    assert all(word in result.stderr for word in ("81 characters", "period", "no body"))


def test_a_merge_is_not_looked_at(repository: Repository, base: str) -> None:
    repository.git("checkout", "--quiet", "-b", "side")
    repository.commit(GOOD)
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--message=Merge branch side.", "side")
    assert repository.check("--base", base).returncode == 0


def test_a_shallow_clone_without_the_base_is_checked_as_far_as_it_goes(
    repository: Repository, base: str, tmp_path: Path
) -> None:
    repository.commit("Too old to be in the clone")
    repository.commit(GOOD)
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", repository.path.as_uri(), "clone"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        check=True,
    )
    clone = Repository(tmp_path / "clone")
    result = clone.check("--base", base)
    assert result.returncode == 0, result.stderr
    assert f"does not hold commit {base[:10]}" in result.stdout
    assert "1 checked, none is wrong" in result.stdout
    clone.commit("No reason given")
    assert clone.check("--base", base).returncode == 1


def test_outside_a_repository_git_says_what_is_wrong(tmp_path: Path) -> None:
    result = Repository(tmp_path).check()
    assert result.returncode == 1
    assert "not a git repository" in result.stderr
