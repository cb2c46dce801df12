"""The OpenAPI document: valid, complete, served to key holders, and what docs/api.md shows."""

from pathlib import Path
from typing import Any

import httpx
import openapi_spec_validator
import pytest

from sdlc_agents.commands import api_documents
from sdlc_agents.configuration.examples import EXAMPLES
from sdlc_agents.configuration.openapi import document
from support.apikeys import MakeKey
from support.conformance import Conformance

DOCS = Path(__file__).resolve().parents[3] / "docs" / "api.md"
DOCUMENT = document()
OPERATIONS = [
    (path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]
NAMES = [operation["operationId"] for _, _, operation in OPERATIONS]


def test_the_document_is_valid_openapi() -> None:
    openapi_spec_validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")


async def test_the_document_is_served_to_key_holders(anonymous: httpx.AsyncClient, make_key: MakeKey) -> None:
    assert (await anonymous.get("/openapi.json")).status_code == 401
    response = await anonymous.get("/openapi.json", headers={"X-API-Key": await make_key("read")})
    assert (response.status_code, response.json()) == (200, DOCUMENT)


@pytest.mark.parametrize("name", sorted(set(DOCUMENT["components"]["schemas"])))
def test_every_model_has_an_example_that_it_allows(name: str, conformance: Conformance) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    if "enum" in schema:
        return
    (example,) = schema["examples"]
    conformance.validator("components", "schemas", name).validate(example)


def test_every_example_is_one_of_a_model() -> None:
    assert set(EXAMPLES) <= set(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS, ids=NAMES)
def test_every_operation_says_its_scope_and_its_errors(path: str, method: str, operation: dict[str, Any]) -> None:
    scope = "read" if method == "get" else "write"
    if path.startswith(("/api/api-keys", "/api/audit-log")):
        scope = "admin"
    assert operation["description"].endswith(f"Scope: `{scope}`.")
    assert {"400", "401", "403", "503"} <= set(operation["responses"])
    assert "422" not in operation["responses"]
    assert ("404" in operation["responses"]) == ("{" in path)
    for status, told in operation["responses"].items():
        if status >= "400":
            content = DOCUMENT["components"]["responses"][told["$ref"].rpartition("/")[2]]["content"]
            assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_api_md_is_what_the_documents_say() -> None:
    assert DOCS.read_text(encoding="utf-8") == api_documents.page(api_documents.documents()), (
        "docs/api.md is out of date: docs/contributing.md says how it is made again"
    )


def test_any_document_is_rendered() -> None:
    """With what the configuration API's own does not have: no components, named examples, several methods."""
    rendered = api_documents.markdown(
        {
            "openapi": "3.1.0",
            "info": {"title": "Small", "version": "1"},
            "paths": {
                "/webhook": {
                    "post": {
                        "summary": "Take an event.",
                        "requestBody": {
                            "content": {
                                "application/json": {
                                    "schema": {"type": ["object", "null"]},
                                    "examples": {"moved": {"value": {"issue": {"key": "T-1"}}}},
                                }
                            }
                        },
                        "responses": {
                            "200": {
                                "description": "Taken",
                                "content": {
                                    "application/json": {
                                        "schema": {
                                            "type": "array",
                                            "items": {"anyOf": [{"enum": ["a", "b"]}, {"const": ""}]},
                                        },
                                        "example": ["a"],
                                    }
                                },
                            },
                            "401": {"description": "The signature | is wrong"},
                        },
                    }
                },
                "/health": {"get": {"responses": {"200": {"description": "Alive"}}}},
            },
        }
    )
    for part in (
        "## Small",
        "### `POST /webhook`\n\nTake an event.",
        'Takes object or null:\n\n```json\n{\n  "issue": {\n    "key": "T-1"',
        '| 200 | array of `a` or `b` or `""` | Taken |',
        '200:\n\n```json\n[\n  "a"\n]',
        "| 401 |  | The signature \\| is wrong |",
        "### `GET /health`\n\n| answer",
    ):
        assert part in rendered
    assert "Models" not in rendered
