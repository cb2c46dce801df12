"""Errors as `{"error": …}`, also those that nobody expected."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pymongo.errors import ServerSelectionTimeoutError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from sdlc_agents.kernel import web
from sdlc_agents.kernel.errors import ConflictError
from sdlc_agents.kernel.mongo import is_outage
from sdlc_agents.kernel.serving import serve


async def crash(_request: Request) -> Response:
    raise RuntimeError("password=pa55")


async def outage(_request: Request) -> Response:
    raise ServerSelectionTimeoutError("db:27017: timed out")


async def conflict(_request: Request) -> Response:
    raise ConflictError("there is one already")


async def broken_off(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        raise RuntimeError("in the middle")

    return StreamingResponse(parts())


@pytest.fixture
async def http(registry: CollectorRegistry) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route(f"/{view.__name__}", view) for view in (crash, outage, conflict, broken_off)])
    web.install(app, registry, is_outage=is_outage)
    async with (
        serve(app, port=0, host="127.0.0.1") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def test_a_crash_is_logged_and_answered_without_details(http: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        response = await http.get("/crash")
    assert (response.status_code, response.json()) == (500, {"error": "internal error"})
    assert response.headers["X-Request-ID"]
    assert [entry["event"] for entry in logs] == ["request_crashed"]


async def test_an_outage_of_the_database_is_a_503_that_says_when_to_come_back(http: httpx.AsyncClient) -> None:
    response = await http.get("/outage")
    assert (response.status_code, response.json()) == (503, {"error": "the database is not available"})
    assert response.headers["Retry-After"] == "5"


async def test_a_services_error_has_its_status_and_message(http: httpx.AsyncClient) -> None:
    response = await http.get("/conflict")
    assert (response.status_code, response.json()) == (409, {"error": "there is one already"})


async def test_an_answer_that_breaks_off_is_broken_off_for_the_client_too(
    http: httpx.AsyncClient, registry: CollectorRegistry
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/broken_off")
    labels = {"method": "GET", "endpoint": "/broken_off", "status": "200"}
    assert registry.get_sample_value("http_requests_total", labels) == 1


async def test_a_method_of_ones_own_does_not_make_a_series(
    http: httpx.AsyncClient, registry: CollectorRegistry
) -> None:
    await http.request("PROPFIND", "/conflict")
    labels = {"method": "other", "endpoint": "/conflict", "status": "405"}
    assert registry.get_sample_value("http_requests_total", labels) == 1
