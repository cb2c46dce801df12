"""The OpenAPI document says what the service does."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from sdlc_agents.webhooks import bodies
from sdlc_agents.webhooks.openapi import document
from support.deliveries import FIXTURES, fixture, ticket
from support.proxy import CuttableProxy
from support.webhook_service import Service, StartService
from webhooks.expectations import REFUSED

DOCUMENT = document()


def resolved(described: dict[str, Any]) -> dict[str, Any]:
    place: Any = described
    while "$ref" in place:
        pointer, place = place["$ref"], DOCUMENT
        for step in pointer.removeprefix("#/").split("/"):
            place = place[step]
    return dict(place)


def validator(schema: dict[str, Any]) -> OAS31Validator:
    return OAS31Validator({**schema, "components": DOCUMENT["components"]}, format_checker=oas31_format_checker)


def check(response: httpx.Response) -> None:
    """Fail unless the document tells of exactly such an answer."""
    operation = DOCUMENT["paths"][response.request.url.path][response.request.method.lower()]
    told = resolved(operation["responses"][str(response.status_code)])
    assert set(told["content"]) == {response.headers["Content-Type"]}
    validator(told["content"]["application/json"]["schema"]).validate(response.json())
    for name, header in told["headers"].items():
        value = response.headers[name]
        schema = resolved(header)["schema"]
        validator(schema).validate(int(value) if schema["type"] == "integer" else value)


def test_it_is_a_valid_document_of_openapi_31() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_its_examples_are_what_its_schemas_say() -> None:
    examples = 0
    contents = [
        resolved(response)["content"]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
    ]
    contents.append(DOCUMENT["paths"]["/webhook"]["post"]["requestBody"]["content"])
    for content in contents:
        media = content["application/json"]
        given = [media["example"]] if "example" in media else [each["value"] for each in media["examples"].values()]
        for example in given:
            validator(media["schema"]).validate(example)
            examples += 1
    for schema in DOCUMENT["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            validator(schema).validate(example)
            examples += 1
    assert examples >= 12


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*.json")))
def test_every_payload_of_jira_is_one_that_it_describes(name: str) -> None:
    schema = {"$ref": "#/components/schemas/Delivery"}
    assert validator(schema).is_valid(fixture(name)) == (name not in REFUSED)


async def test_answers_are_those_that_it_describes(
    service: Service, project_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = (ticket(project_key), ticket(project_key), fixture("cloud_issue_deleted"), b"{", b"[]", {"issue": 1})
    seen = [await service.deliver(payload) for payload in payloads]
    seen.append(await service.deliver(ticket(project_key), secret=b"another"))
    seen.append(await service.http.post("/webhook", content=b"{}"))
    seen.append(await service.deliver(b" " * (bodies.MAX_BODY_BYTES + 1)))
    seen.append(await service.http.get("/health"))
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 1)
    seen.append(await service.deliver(ticket(project_key)))
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)
    seen.append(await late(service))
    for response in seen:
        check(response)
    told = DOCUMENT["paths"]["/webhook"]["post"]["responses"]
    assert {str(response.status_code) for response in seen} == set(told)


async def late(service: Service) -> httpx.Response:
    """The answer to a body that does not end."""
    url = service.http.base_url.join("/webhook")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines if line)]
    content = await reader.readexactly(int(dict(headers)["content-length"]))
    writer.close()
    await writer.wait_closed()
    return httpx.Response(int(status.split()[1]), headers=headers, content=content, request=httpx.Request("POST", url))


async def test_an_answer_with_the_database_away_is_one_that_it_describes(
    mongo_proxy: CuttableProxy, start_service: StartService, project_key: str
) -> None:
    service = await start_service(mongo_url=mongo_proxy.url)
    await mongo_proxy.cut()
    response = await service.deliver(ticket(project_key))
    assert response.status_code == 503
    check(response)


async def test_what_it_promises_of_all_paths_holds(service: Service) -> None:
    for method, path, status in (("POST", "/", 404), ("GET", "/webhook", 405), ("GET", "/openapi.json", 404)):
        response = await service.http.request(method, path)
        assert response.status_code == status
        validator({"$ref": "#/components/schemas/Error"}).validate(orjson.loads(response.content))
        assert "X-Request-ID" in response.headers
        assert ("Allow" in response.headers) == (status == 405)
