"""Holds every answer of the configuration API against its OpenAPI document."""

import json
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from sdlc_agents.configuration.openapi import document
from sdlc_agents.configuration.routes import ROUTERS, RouteTable

_URN = "urn:configuration-api"


class Conformance:
    """`await conformance(response)` fails when the document does not tell of such an answer."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = document()
        self._table = RouteTable(ROUTERS, ())
        described = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URN, described)

    def validator(self, *steps: str) -> Any:
        """A validator for the schema at this place of the document."""
        pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
        return OAS31Validator({"$ref": f"{_URN}#{pointer}"}, registry=self._registry)

    async def __call__(self, response: httpx.Response) -> None:
        """An event hook of httpx."""
        await response.aread()
        assert response.status_code != 500, response.text
        path = response.request.url.path
        template, method = self._table.template(path), response.request.method.lower()
        if template is None or method not in self.document["paths"][template]:
            return  # no operation of the document: 401, 403, 404 or 405
        place = ["paths", template, method, "responses", str(response.status_code)]
        told = self.document["paths"][template][method]["responses"].get(str(response.status_code))
        assert told is not None, f"{method} {template} is not said to answer {response.status_code}: {response.text}"
        if "$ref" in told:
            place = told["$ref"].removeprefix("#/").split("/")
            told = self.document["components"]["responses"][place[-1]]
        missing = [name for name in told.get("headers", {}) if name not in response.headers and name != "Link"]
        assert not missing, f"{method} {template} is said to answer with {missing}"
        if "content" not in told:
            assert response.content == b""
            return
        assert response.headers["Content-Type"] in told["content"]
        if response.headers["Content-Type"] == "text/event-stream":
            for frame in response.text.split("\n\n"):
                if frame.startswith("id: "):
                    event = self.validator("components", "schemas", "TranscriptEventOutput")
                    event.validate(json.loads(frame.partition("\ndata: ")[2]))
            return
        self.validator(*place, "content", "application/json", "schema").validate(response.json())
