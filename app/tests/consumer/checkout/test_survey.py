"""The survey tells what is there, stays short, and takes no time."""

import asyncio
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sdlc_agents.consumer.checkout.survey import CHARACTERS, commands, languages, survey
from sdlc_agents.git.command import Git
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


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ("[tool.ruff.lint]\n[tool.pytest.ini_options]\n[tool.mypy]", ["pytest", "mypy", "ruff"]),
        ("[[tool.mypy.overrides]]\n[tool.ruffian]\n[mytool.tox]", ["mypy"]),
        ('[ tool . "ruff" ] # ours', ["ruff"]),
        (
            "[project.scripts] # ours\n# a = 'no'\nshop = 'shop:main'\n\"a b\"=\"c:d\" # e\n[project.urls]\nx = 'y'",
            ["script shop: shop:main", "script a b: c:d"],
        ),
        ("[project]\nscripts = ['a']", []),
        ("[project]\nscripts = 'a'", []),
        ("[project.scripts]\na = 1\nb", []),
        ("x = " + "1" * 5000 + "\n[tool.pytest]", ["pytest"]),
    ],
)
def test_a_pyproject_is_looked_through_for_what_is_told(pyproject: str, expected: list[str]) -> None:
    assert commands(set(), {"pyproject.toml": pyproject}) == expected


MEASURED = """
import resource, sys, time
from sdlc_agents.consumer.checkout.survey import commands
text = sys.stdin.read()
resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))
before = time.process_time()
print(commands(set(), {sys.argv[1]: text}))
assert time.process_time() - before < 2, "it blocks everything else for long"
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "a." * 120_000 + "a=1"),
        ("pyproject.toml", "[" + "a." * 120_000 + "a]"),
        ("pyproject.toml", "a=" + "[" * 250_000),
        ("pyproject.toml", "a=" + "{a=" * 80_000),
        ("pyproject.toml", "[project.scripts]\n" + "'" * 250_000),
        ("pyproject.toml", "[project.scripts]\n" + " " * 250_000),
        ("pyproject.toml", "[tool." + " " * 250_000),
        ("package.json", "[" * 250_000),
        ("package.json", '{"a":' * 50_000),
        ("package.json", '{"scripts":{"a":' + "[" * 1000 + "]" * 1000 + "}}"),
        ("Makefile", "a" * 250_000),
        ("Makefile", "a" + " " * 250_000),
        ("Makefile", "a \n" * 80_000),
    ],
    ids=lambda value: value[:24],
)
def test_no_file_takes_long_or_much_memory(name: str, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, name], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr[-1000:]


async def test_a_run_does_without_a_survey_that_fails(tmp_path: Path) -> None:
    with capture_logs() as logs:
        assert await survey(Git(tmp_path / "gone"), "0" * 40) == ""
    assert [entry["log_level"] for entry in logs if entry["event"] == "survey_failed"] == ["warning"]


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


@pytest.mark.timeout(120)
async def test_a_small_repository_of_millions_of_paths_stops_nothing_else(tmp_path: Path) -> None:
    directory = make_repository(tmp_path / "r")
    kind, thing = "100644 blob", git(directory, "hash-object", "-w", "--stdin", stdin=b"x = 1\n")
    for suffix in (".py", "", ""):  # a tree of the same trees of the same trees
        entries = "".join(f"{kind} {thing}\t{number:x}{suffix}\n" for number in range(160))
        kind, thing = "040000 tree", git(directory, "mktree", stdin=entries.encode())
    commit = git(directory, "commit-tree", "-m", "many", thing)
    pauses = [0.0]

    async def watch() -> None:
        while True:
            before = time.monotonic()
            try:
                await asyncio.sleep(0.05)
            finally:
                pauses.append(time.monotonic() - before)

    watching = asyncio.create_task(watch())
    text = await survey(Git(directory), commit)
    watching.cancel()
    await asyncio.wait([watching])
    assert "Python 100 %" in text
    assert max(pauses) < 4, "a lease of 30 s is renewed every ten"
