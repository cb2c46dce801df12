"""Prometheus metrics: a registry a process, and the two that every HTTP service has.

`http_requests_total{method,endpoint,status}` and `http_request_duration_seconds{method,endpoint}` are the deployment
guide's; `endpoint` is the route's template, so that ids in paths do not make series. Metrics of the product's own are
named `sdlc_…`.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["CONTENT_TYPE_LATEST", "HttpMetrics", "new_registry", "render"]

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def new_registry() -> CollectorRegistry:
    """A registry with the process's own figures (CPU, memory, open files, garbage collector)."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class HttpMetrics:
    """The counters of requests that a service has answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter(
            "http_requests_total",
            "Number of HTTP requests answered",
            ["method", "endpoint", "status"],
            registry=registry,
        )
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Time from a request's headers to the end of its answer, in seconds",
            ["method", "endpoint"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def observe(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._total.labels(method, endpoint, str(status)).inc()
        self._duration.labels(method, endpoint).observe(seconds)


def render(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus's text format (`CONTENT_TYPE_LATEST`)."""
    return generate_latest(registry)
