"""What a runner counts. A process lives for one job, so these show the last one rather than a history."""

from prometheus_client import CollectorRegistry, Counter

from sdlc_agents.runs.protocol import Failed, Finished


class RunnerMetrics:
    """Jobs by how they ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter(
            "sdlc_runner_jobs_total", "Jobs that this runner has ended, by outcome", ["outcome"], registry=registry
        )

    def ended(self, event: Finished | Failed) -> None:
        """Count one job."""
        self._jobs.labels("finished" if isinstance(event, Finished) else event.reason).inc()
