"""docs/api.md from the services' OpenAPI documents.

`python -m sdlc_agents.commands.api_documents ../docs/api.md` writes it; a test fails when it is out of date.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sdlc_agents.configuration import openapi as configuration
from sdlc_agents.webhooks import openapi as webhooks

Document = dict[str, Any]

_HEADER = """\
# API

Made from the services' OpenAPI 3.1 documents; do not edit it here (docs/contributing.md says how it is made again).
"""
_METHODS = ("get", "post", "put", "patch", "delete")
_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "format": "{}",
    "pattern": "`{}`",
}


def documents() -> list[Document]:
    """Every service's document."""
    return [webhooks.document(), configuration.document()]


def page(described: Iterable[Document]) -> str:
    """docs/api.md."""
    return "\n".join([_HEADER, *(markdown(document) for document in described)])


def markdown(document: Document) -> str:
    """One OpenAPI 3.1 document as Markdown: its operations with examples, then its models."""
    return "\n".join(_lines(document))


def _lines(document: Document) -> Iterator[str]:
    info = document["info"]
    yield from (f"## {info['title']}", "")
    if info.get("description"):
        yield from (info["description"], "")
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                yield from _operation(document, method, path, operations[method])
    schemas = document.get("components", {}).get("schemas", {})
    if schemas:
        yield from (f"### Models of the {info['title']}", "")
        for name, schema in sorted(schemas.items()):
            yield from _model(document, name, schema)


def _operation(document: Document, method: str, path: str, operation: Document) -> Iterator[str]:
    yield from (f"### `{method.upper()} {path}`", "")
    text = operation.get("description") or operation.get("summary")
    if text:
        yield from (text, "")
    parameters = [_resolved(document, parameter) for parameter in operation.get("parameters", ())]
    if parameters:
        yield from ("| parameter | in | type | |", "| --- | --- | --- | --- |")
        for parameter in parameters:
            required = "required" if parameter.get("required") else ""
            told = _joined(parameter.get("description"), _limits(parameter["schema"]), required)
            yield f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])} | {told} |"
        yield ""
    if "requestBody" in operation:
        body = _resolved(document, operation["requestBody"])
        for media in body["content"].values():
            yield from (f"Takes {_type(media['schema'])}:", "", *_example(document, media))
    yield from ("| answer | | |", "| --- | --- | --- |")
    answers = []
    for status, given in sorted(operation["responses"].items()):
        response = _resolved(document, given)
        for media in (response.get("content") or {"": {"schema": {}}}).values():
            headers = ", ".join(f"`{name}`" for name in response.get("headers", {}))
            told = _joined(response.get("description"), f"with {headers}" if headers else "")
            yield f"| {status} | {_type(media['schema']) if media['schema'] else ''} | {told} |"
            if status.startswith("2") and (example := _example(document, media)):
                answers.append([f"{status}:", "", *example])
    yield ""
    for answer in answers[:1]:
        yield from answer


def _model(document: Document, name: str, schema: Document) -> Iterator[str]:
    yield from (f"#### {name}", "")
    if schema.get("description"):
        yield from (schema["description"], "")
    if "enum" in schema:
        yield from (f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.", "")
    properties = schema.get("properties", {})
    if properties:
        required = set(schema.get("required", ()))
        yield from ("| field | type | |", "| --- | --- | --- |")
        for field, described in properties.items():
            resolved = _resolved(document, described) if "$ref" not in described else {}
            default = resolved.get("default")
            told = _joined(
                described.get("description"),
                _limits(resolved),
                "required" if field in required else f"default `{json.dumps(default)}`" if default is not None else "",
            )
            yield f"| `{field}` | {_type(described)} | {told} |"
        yield ""


def _type(schema: Document) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}))}"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _limits(schema: Document) -> str:
    parts = [schema, *schema.get("anyOf", ())]
    found = [words.format(part[name]) for part in parts for name, words in _LIMITS.items() if name in part]
    return ", ".join(found)


def _joined(*parts: str | None) -> str:
    return "; ".join(" ".join(part.split()).rstrip(".").replace("|", "\\|") for part in parts if part)


def _example(document: Document, media: Document) -> list[str]:
    value = media.get("example")
    if value is None and media.get("examples"):
        value = next(iter(media["examples"].values())).get("value")
    if value is None:
        value = _example_of(document, media["schema"])
    return [] if value is None else ["```json", json.dumps(value, indent=2, ensure_ascii=False), "```", ""]


def _example_of(document: Document, schema: Document) -> Any:
    resolved = _resolved(document, schema)
    if resolved.get("examples"):
        return resolved["examples"][0]
    if resolved.get("type") == "array":
        item = _example_of(document, resolved["items"])
        return None if item is None else [item]
    return None


def _resolved(document: Document, described: Document) -> Document:
    while "$ref" in described:
        place: Any = document
        for step in described["$ref"].removeprefix("#/").split("/"):
            place = place[step]
        described = place
    return described


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(documents()), encoding="utf-8")
