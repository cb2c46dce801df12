"""What the consumer counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sdlc_agents.developments.model import Outcome

_SECONDS = (0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300)
_RUN_SECONDS = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_RUN_USD = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 50)


class AgentMetrics:
    """Runs by outcome, their times and costs, and what the appliance itself adds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge("sdlc_agent_runs_active", "Runs under way in this consumer", registry=registry)
        self.leases_lost = Counter("sdlc_agent_leases_lost_total", "Claims lost to another", registry=registry)
        self.taken_over = Counter(
            "sdlc_agent_takeovers_total", "Developments taken without a message: left behind or lost", registry=registry
        )
        self.handed_back = Counter("sdlc_agent_handed_back_total", "Runs given up at shutdown", registry=registry)
        self._runs = Counter("sdlc_agent_runs_total", "Ended runs", ["status", "outcome"], registry=registry)
        self._duration = Histogram(
            "sdlc_agent_run_duration_seconds", "The agent's own time", buckets=_RUN_SECONDS, registry=registry
        )
        self._cost = Histogram("sdlc_agent_run_cost_usd", "Cost of a run", buckets=_RUN_USD, registry=registry)
        self._to_start = Histogram(
            "sdlc_agent_accepted_to_started_seconds",
            "From the ticket's acceptance to the agent's start",
            buckets=_SECONDS,
            registry=registry,
        )
        self._to_publish = Histogram(
            "sdlc_agent_finished_to_published_seconds",
            "From the agent's end to the open pull request",
            buckets=_SECONDS,
            registry=registry,
        )

    def ended(self, outcome: Outcome) -> None:
        """One run has ended."""
        self._runs.labels(outcome.status, outcome.kind).inc()
        if outcome.duration_seconds:
            self._duration.observe(outcome.duration_seconds)
            self._cost.observe(outcome.cost_usd)

    def started_after(self, seconds: float) -> None:
        """One agent has started, so long after its ticket was accepted."""
        self._to_start.observe(max(0.0, seconds))

    def published_after(self, seconds: float) -> None:
        """One pull request is open, so long after its agent ended."""
        self._to_publish.observe(max(0.0, seconds))
