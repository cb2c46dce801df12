"""docs/deployment-guide.md names only tests, options and files that exist, and no row says nothing."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "deployment-guide.md"
HEADER = ["the guide", "met by", "proved by", "otherwise, or not yet"]
TEST = re.compile(r"`([\w./-]+\.py)::(\w+)`")
CODE = re.compile(r"`([^`]+)`")
CELL = re.compile(r"(?<!\\)\|")
# What stands below these folders is a file of this repository, what begins so is an option.
FOLDERS = ("app/", "docs/", "group_vars/", "inventories/", "molecule/", "playbooks/", "roles/", "scripts/", "tests/")
PATH = re.compile(r"[\w./-]+")


def tables() -> list[list[list[str]]]:
    """The page's tables, each a list of rows of cells."""
    found: list[list[list[str]]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in CELL.split(line)[1:-1]])
        inside = line.startswith("|")
    return found


def rows() -> list[list[str]]:
    return [row for table in tables() for row in table[2:]]


@cache
def functions(path: Path) -> frozenset[str]:
    """The functions of a module, methods among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def loaded(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def missing_tests(text: str) -> list[str]:
    """Those tests that *text* names and that are not there."""
    named = sorted(set(TEST.findall(text)))
    return [
        f"{path}::{name}" for path, name in named if not (ROOT / path).is_file() or name not in functions(ROOT / path)
    ]


def test_every_table_has_the_same_columns() -> None:
    for table in tables():
        assert table[0] == HEADER
        assert {len(row) for row in table} == {len(HEADER)}, table[0]


def test_every_test_that_is_named_exists() -> None:
    assert len(TEST.findall(PAGE.read_text(encoding="utf-8"))) > 100
    assert missing_tests(PAGE.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "named", ["tests/test_nowhere.py::test_it", "tests/test_deployment_guide.py::test_that_nobody_wrote"]
)
def test_a_test_that_is_not_there_is_noticed(named: str) -> None:
    assert missing_tests(f"| a | b | `{named}` | |") == [named]


def test_what_proves_something_is_a_test() -> None:
    assert [row for row in rows() if row[2] and TEST.sub("", row[2]).replace("<br>", "")] == []
    assert [name for row in rows() for _, name in TEST.findall(row[2]) if not name.startswith("test_")] == []


def test_no_row_says_nothing() -> None:
    assert [row[0] for row in rows() if not any(row[1:])] == []
    assert [row for row in rows() if not row[0]] == []


def test_what_no_test_proves_says_why_or_is_a_document() -> None:
    documents = re.compile(r"`(docs|roles)/[\w./-]+\.md`")
    assert [row[0] for row in rows() if not row[2] and not row[3] and not documents.fullmatch(row[1])] == []


def test_every_option_that_is_named_exists() -> None:
    roles = {path.name for path in (ROOT / "roles").iterdir()}
    options = {
        option
        for path in ROOT.glob("roles/*/meta/argument_specs.yml")
        for option in loaded(path)["argument_specs"]["main"].get("options", {})
    }
    options |= {name for path in ROOT.glob("group_vars/all/*.yml") for name in loaded(path)}
    looks_like_one = re.compile(rf"((?:{'|'.join(roles)}|secret|versions|appliance)_[a-z0-9_]+)(?:: \w+)?")
    spans = (span for row in rows() for span in CODE.findall(row[1] + row[3]))
    named = {match[1] for span in spans if (match := looks_like_one.fullmatch(span))}
    assert named
    assert named - options == set()


def test_every_file_that_is_named_exists() -> None:
    spans = {span for row in rows() for span in CODE.findall(row[1] + row[3])}
    named = {span for span in spans if span.startswith(FOLDERS) and PATH.fullmatch(span)}
    assert named
    assert {path for path in named if not (ROOT / path).exists()} == set()
