"""What every service answers on METRICS_PORT: `/health`, `/ready` and `/metrics`.

`/health` says that the process lives, `/ready` asks each dependency and answers 503 naming those that fail, `/metrics`
is Prometheus's text. A plain ASGI application, so that a service without an API of its own loads no framework.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from prometheus_client import CollectorRegistry

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.metrics import CONTENT_TYPE_LATEST, render
from sdlc_agents.kernel.serving import GRACEFUL_SECONDS, serve
from sdlc_agents.kernel.settings import ServiceSettings, TlsServerSettings

Check = Callable[[], Awaitable[object]]
"""Returns when the dependency is well, raises when it is not."""

CHECK_SECONDS = 4.0
_JSON = b"application/json"

log = structlog.get_logger()


def healthy() -> dict[str, str]:
    """The answer of `/health`."""
    return {"status": "healthy", "timestamp": now().isoformat().replace("+00:00", "Z")}


async def readiness(checks: Mapping[str, Check]) -> tuple[int, dict[str, object]]:
    """The answer of `/ready`: 200, or 503 with each failing dependency and why, without addresses or secrets."""

    async def ask(name: str, check: Check) -> tuple[str, str]:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await check()
        except ServiceError as error:
            return name, error.message
        except TimeoutError:
            return name, "no answer in time"
        except Exception as error:  # noqa: BLE001 - whatever a check raises means "not ready"
            log.warning("readiness_check_failed", check=name, error=repr(error))
            return name, type(error).__name__
        return name, "ok"

    results = dict(await asyncio.gather(*(ask(name, check) for name, check in checks.items())))
    failing = [name for name, result in results.items() if result != "ok"]
    body: dict[str, object] = {"status": "unavailable" if failing else "ready", "checks": results}
    if failing:
        body["error"] = f"not ready: {', '.join(failing)}"
    return (503 if failing else 200), body


class HealthApp:
    """The ASGI application of METRICS_PORT; `registry` None means that metrics are off (404)."""

    def __init__(self, checks: Mapping[str, Check], registry: CollectorRegistry | None) -> None:
        self._checks = checks
        self._registry = registry

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        del receive
        path, method = scope["path"], scope["method"]
        content_type = _JSON
        if method not in {"GET", "HEAD"}:
            status, body = 405, orjson.dumps({"error": "method not allowed"})
        elif path == "/health":
            status, body = 200, orjson.dumps(healthy())
        elif path == "/ready":
            status, answer = await readiness(self._checks)
            body = orjson.dumps(answer)
        elif path == "/metrics" and self._registry is not None:
            status, body, content_type = 200, render(self._registry), CONTENT_TYPE_LATEST.encode()
        else:
            status, body = 404, orjson.dumps({"error": "not found"})
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


@asynccontextmanager
async def health_server(
    settings: ServiceSettings, checks: Mapping[str, Check], registry: CollectorRegistry
) -> AsyncIterator[int]:
    """Serve METRICS_PORT while the block runs; yields the port."""
    app = HealthApp(checks, registry if settings.enable_metrics else None)
    async with serve(app, port=settings.metrics_port, graceful_seconds=1) as port:
        yield port


@asynccontextmanager
async def serve_api(
    settings: ServiceSettings,
    app: Any,
    port: int,
    checks: Mapping[str, Check],
    registry: CollectorRegistry,
    *,
    tls: TlsServerSettings | None = None,
    graceful_seconds: int = GRACEFUL_SECONDS,
) -> AsyncIterator[None]:
    """Serve an API while the block runs, and METRICS_PORT beside it: never before it, as what is ready is called."""
    async with (
        serve(app, port=port, tls=tls, graceful_seconds=graceful_seconds),
        health_server(settings, checks, registry),
    ):
        yield
