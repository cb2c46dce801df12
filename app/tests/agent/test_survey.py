"""The survey tells what is there, stays short, and takes no time."""

import time
import unicodedata
from pathlib import Path

import pytest

from sdlc_agents.agent.git import Git
from sdlc_agents.agent.survey import CHARACTERS, commands, languages, survey
from support.repositories import git, make_repository


async def surveyed(directory: Path, files: dict[str, str]) -> str:
    make_repository(directory, files)
    return await survey(Git(directory), git(directory, "rev-parse", "HEAD"))


async def test_languages_layout_entry_points_commands_and_guides_are_told(tmp_path: Path) -> None:
    text = await surveyed(
        tmp_path / "r",
        {
            "src/shop/__main__.py": "",
            "src/shop/a.py": "",
            "src/shop/b.py": "",
            "web/index.ts": "",
            "Makefile": "SHELL := bash\n.PHONY: test\ndeploy:\n\ttrue\ntest: lint\n\tpytest\n",
            "package.json": '{"scripts": {"test": "vitest run", "build": "tsc"}}',
            "pyproject.toml": "[tool.pytest.ini_options]\n[project.scripts]\nshop = 'shop:main'\n",
            "CLAUDE.md": "Use tabs.\n",
            "CONTRIBUTING.md": "Write tests.\n" * 1000,
        },
    )
    for part in (
        "Languages, by files: Python 75 %, TypeScript 25 %",
        "src/ (3 files)",
        "src/shop/__main__.py",
        "web/index.ts",
        "make test",
        "npm run test: vitest run",
        "pytest",
        "script shop: shop:main",
        "CLAUDE.md:\nUse tabs.",
        "CONTRIBUTING.md (its beginning):\nWrite tests.",
    ):
        assert part in text, text
    assert text.index("make test") < text.index("make deploy")
    assert len(text) <= CHARACTERS


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ("Cargo.toml", "cargo build; cargo test"),
        ("go.mod", "go build ./...; go test ./..."),
        ("pom.xml", "mvn verify"),
        ("build.gradle.kts", "gradle build"),
        ("tox.ini", "tox"),
        ("CMakeLists.txt", "cmake -B build && cmake --build build && ctest --test-dir build"),
    ],
)
def test_a_tools_own_file_says_how_it_is_built(top: str, expected: str) -> None:
    assert commands({top}, {}) == [expected]


@pytest.mark.parametrize("broken", ["{", "[]", '{"scripts": 7}', '{"scripts": ["a"]}'])
def test_files_that_cannot_be_read_tell_nothing(broken: str) -> None:
    assert commands(set(), {"package.json": broken, "pyproject.toml": broken + "=", "Makefile": "\0"}) == []


async def test_control_characters_go_and_everything_is_bounded(tmp_path: Path) -> None:
    text = await surveyed(
        tmp_path / "r",
        {
            "a\x1b[31mred\u202e.py": "",
            "two\nlines/__main__.py": "",
            **{f"top{number}": "" for number in range(300)},
            "AGENTS.md": "\x1b]0;title\x07" + "x" * 300_000,
            "CLAUDE.md": "\u2066hidden\u2069 \x00 text" + "y" * 10_000,
            "Makefile": "".join(f"target{number}:\n" for number in range(5000)),
        },
    )
    assert len(text) <= CHARACTERS
    assert not [letter for letter in text if unicodedata.category(letter) in {"Cc", "Cf"} and letter not in "\n\t"]
    assert "more" in text


async def test_an_empty_tree_and_a_missing_commit_tell_nothing(tmp_path: Path) -> None:
    directory = make_repository(tmp_path / "r")
    assert await survey(Git(directory), "0" * 40) == ""
    assert languages([]) == ""


@pytest.mark.timeout(120)
async def test_a_hundred_thousand_files_take_less_than_two_seconds(tmp_path: Path) -> None:
    directory = make_repository(tmp_path / "r")
    blob = git(directory, "hash-object", "-w", "--stdin", stdin=b"x = 1\n")
    entries = "".join(
        f"100644 {blob}\tservices/service-{number % 500}/src/package/module_{number}.py\n" for number in range(100_000)
    )
    git(directory, "update-index", "--add", "--index-info", stdin=entries.encode())
    git(directory, "commit", "--quiet", "--message=many")
    before = time.process_time(), time.monotonic()
    text = await survey(Git(directory), git(directory, "rev-parse", "HEAD"))
    assert "services/ (100000 files)" in text
    assert time.process_time() - before[0] < 2
    assert time.monotonic() - before[1] < 10, "far more than it takes on a quiet machine"
