"""Jira's payloads for tests: written by us, in the shape that Atlassian documents."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

FIXTURES = Path(__file__).resolve().parents[1] / "webhooks" / "fixtures"


def fixture(name: str) -> dict[str, Any]:
    """The payload of this name."""
    payload: dict[str, Any] = orjson.loads((FIXTURES / f"{name}.json").read_bytes())
    return payload


def ticket(
    project_key: str, number: int = 1, fields: Mapping[str, Any] | None = None, name: str = "cloud_issue_updated"
) -> dict[str, Any]:
    """A payload about another ticket, `fields` of it replaced."""
    payload = copy.deepcopy(fixture(name))
    issue = payload["issue"]
    issue["id"], issue["key"] = str(10_000 + number), f"{project_key}-{number}"
    issue["fields"]["project"]["key"] = project_key
    issue["fields"].update(fields or {})
    return payload
