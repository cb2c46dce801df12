"""Holds requests and answers against a vendor's description of its API (tests/forges/contracts)."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from openapi_schema_validator import OAS30Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_FOLDER = Path(__file__).resolve().parents[1] / "forges" / "contracts"
_URN = "urn:contract"
_INTEGER = re.compile(r"-?\d+")


class ContractError(Exception):
    """A request or an answer that the description does not know."""


class Contract:
    """One vendor's description; `vendor` names its file."""

    def __init__(self, vendor: str) -> None:
        self._document = json.loads((_FOLDER / f"{vendor}.json").read_text(encoding="utf-8"))
        resource = Resource.from_contents(self._document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URN, resource)

    def operation(self, method: str, raw_path: str) -> tuple[str, dict[str, str]]:
        """The template of a path as it came over the wire, and its parameters, each encoded as one step."""
        steps = raw_path.split("/")
        for template, operations in self._document["paths"].items():
            names = template.split("/")
            if len(names) != len(steps):
                continue
            given = {name.strip("{}"): step for name, step in zip(names, steps, strict=True) if name.startswith("{")}
            fixed = all(name.startswith("{") or name == step for name, step in zip(names, steps, strict=True))
            if fixed and "" not in given.values() and method.lower() in operations:
                for step in given.values():
                    if quote(unquote(step), safe="") != step:
                        raise ContractError(f"{raw_path}: {step} is not encoded")
                return template, {name: unquote(step) for name, step in given.items()}
        raise ContractError(f"there is no {method} {raw_path}")

    def take(self, method: str, template: str, query: Mapping[str, str], body: Any) -> None:
        """Raise `ContractError` unless the operation takes this query and body; unknown fields are refused too."""
        operation = self._document["paths"][template][method.lower()]
        parameters = [self._resolved(parameter) for parameter in operation.get("parameters", [])]
        known = {each["name"]: each["schema"] for each in parameters if each["in"] == "query"}
        for name, value in query.items():
            if name not in known:
                raise ContractError(f"{method} {template} takes no parameter {name}")
            typed = int(value) if known[name]["type"] == "integer" and _INTEGER.fullmatch(value) else value
            self._check(known[name], typed, f"parameter {name} of {method} {template}")
        described = operation.get("requestBody")
        if described is None:
            if body is not None:
                raise ContractError(f"{method} {template} takes no body")
            return
        schema = described["content"]["application/json"]["schema"]
        self._check(schema, body, f"the body of {method} {template}")
        unknown = set(body) - set(schema["properties"])
        if unknown:
            raise ContractError(f"{method} {template} takes no {unknown}")

    def answer(self, method: str, template: str, status: int, body: Any) -> None:
        """Raise `ContractError` unless the operation is said to answer so. 401, 429 and 5xx need not be described."""
        responses = self._document["paths"][template][method.lower()]["responses"]
        if str(status) not in responses and (status in {401, 404, 403, 429} or status >= 500):
            return
        if str(status) not in responses:
            raise ContractError(f"{method} {template} is not said to answer {status}")
        content = self._resolved(responses[str(status)]).get("content")
        if content is not None:
            self._check(content["application/json"]["schema"], body, f"the answer {status} of {method} {template}")

    def example(self, name: str, /, **facts: Any) -> dict[str, Any]:
        """The least document that the schema `name` allows (null where it may be), with these facts in it."""
        made: dict[str, Any] = self._example({"$ref": f"#/components/schemas/{name}"})
        return made | facts

    def _example(self, given: Mapping[str, Any]) -> Any:
        schema = self._resolved(given)
        for choice in ("oneOf", "anyOf"):
            if choice in schema:
                return self._example(schema[choice][0])
        if schema.get("nullable"):
            return None
        if "allOf" in schema:
            merged: dict[str, Any] = {}
            for part in schema["allOf"]:
                merged |= self._example(part)
            return merged
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "object")
        if kind == "object":
            properties = schema.get("properties", {})
            return {key: self._example(properties[key]) for key in schema.get("required", ())}
        strings = {"date-time": "2026-01-02T03:04:05Z", "uri": "https://forge.example/"}
        plain = {"string": strings.get(schema.get("format", ""), "x"), "integer": 1, "number": 1.0, "boolean": False}
        return [] if kind == "array" else plain[kind]

    def _resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in node:
            found: Any = self._document
            for step in node["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            node = found
        return node

    def _check(self, schema: Mapping[str, Any], instance: Any, what: str) -> None:
        # References in the description are to the description.
        local = json.loads(json.dumps(schema).replace('"#/', f'"{_URN}#/'))
        error = next(iter(OAS30Validator(local, registry=self._registry).iter_errors(instance)), None)
        if error is not None:
            raise ContractError(f"{what}: {error.json_path}: {error.message[:500]}")
