"""METRICS_PORT: /health, /ready, /metrics; and the health check that asks it."""

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sdlc_agents.commands import healthcheck
from sdlc_agents.kernel import health
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.health import Check, HealthApp, serve_api
from sdlc_agents.kernel.metrics import new_registry
from sdlc_agents.kernel.serving import serve
from sdlc_agents.kernel.settings import ServiceSettings
from support.processes import free_port


async def fine() -> None:
    pass


async def away() -> None:
    raise UnavailableError("the broker is not available")


async def crashed() -> None:
    raise RuntimeError("password=pa55")


async def stuck() -> None:
    await asyncio.Event().wait()


CHECKS: dict[str, Check] = {"database": fine, "broker": away, "other": crashed, "stuck": stuck}


@pytest.fixture
async def http(registry: CollectorRegistry) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serve(HealthApp({"database": fine}, registry), port=0, host="127.0.0.1") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def test_a_living_service_says_healthy_and_when(http: httpx.AsyncClient) -> None:
    body = (await http.get("/health")).json()
    assert body["status"] == "healthy"
    assert body["timestamp"].endswith("Z")


async def test_a_service_whose_dependencies_are_well_is_ready(http: httpx.AsyncClient) -> None:
    response = await http.get("/ready")
    assert (response.status_code, response.json()) == (200, {"status": "ready", "checks": {"database": "ok"}})


async def test_a_service_that_is_not_ready_names_what_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)
    status, body = await health.readiness(CHECKS)
    assert status == 503
    assert body == {
        "status": "unavailable",
        "error": "not ready: broker, other, stuck",
        "checks": {
            "database": "ok",
            "broker": "the broker is not available",
            "other": "RuntimeError",
            "stuck": "no answer in time",
        },
    }


async def test_metrics_are_prometheus_text(http: httpx.AsyncClient) -> None:
    response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")


async def test_metrics_that_are_off_are_not_found() -> None:
    async with (
        serve(HealthApp({}, None), port=0, host="127.0.0.1") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/metrics")).status_code == 404


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("POST", "/health", 405)])
async def test_other_requests_have_an_error(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    response = await http.request(method, path)
    assert (response.status_code, set(response.json())) == (status, {"error"})


async def test_a_head_request_has_no_body(http: httpx.AsyncClient) -> None:
    response = await http.head("/health")
    assert (response.status_code, response.content) == (200, b"")


async def test_the_health_check_tells_a_living_service_from_a_dead_one(http: httpx.AsyncClient) -> None:
    assert http.base_url.port is not None
    assert await asyncio.to_thread(healthcheck.is_healthy, http.base_url.port)
    async with serve(HealthApp({}, None), port=0, host="127.0.0.1") as port:
        pass
    assert not await asyncio.to_thread(healthcheck.is_healthy, port)


def test_the_registry_has_the_processs_own_figures() -> None:
    assert (new_registry().get_sample_value("process_resident_memory_bytes") or 0) > 1_000_000


async def test_a_service_says_nothing_of_itself_before_its_api_can_be_called(registry: CollectorRegistry) -> None:
    settings = ServiceSettings(metrics_port=free_port())
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def start() -> None:
            async with serve_api(settings, HealthApp({}, registry), taken.getsockname()[1], {}, registry):
                raise AssertionError("the port is taken")

        starting = asyncio.create_task(start())
        while not starting.done():
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", settings.metrics_port)
        with pytest.raises(OSError, match="in use"):
            starting.result()
