"""What the gateway counts. `model` is the price list's name, so that it cannot grow without bound."""

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sdlc_agents.gateway.pricing import Tokens
from sdlc_agents.spending.budgets import Budget

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class GatewayMetrics:
    """Requests, tokens, cost, refusals, and the time that the gateway itself adds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "sdlc_llm_requests_total", "Answers of the model's API, by status", ["model", "status"], registry=registry
        )
        self._tokens = Counter("sdlc_llm_tokens_total", "Tokens used", ["model", "kind"], registry=registry)
        self._cost = Counter("sdlc_llm_cost_usd_total", "Cost in USD by the price list", ["model"], registry=registry)
        self._refused = Counter(
            "sdlc_llm_refused_total", "Requests that the gateway refused", ["reason"], registry=registry
        )
        self._overhead = Histogram(
            "sdlc_llm_overhead_seconds",
            "Time to look up a request's job, and from its last byte to its departure to the API",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._uncounted = Counter(
            "sdlc_llm_uncounted_total", "Answers whose usage could not be stored", registry=registry
        )
        self._budget = Gauge(
            "sdlc_llm_budget_used_ratio",
            "What is used of a budget; of the projects' budgets that of whichever used most",
            ["budget"],
            registry=registry,
        )
        self._egress = Counter(
            "sdlc_egress_decisions_total", "What the egress proxy was told", ["result"], registry=registry
        )
        self._ratios: dict[str, dict[str | None, tuple[datetime, float]]] = {}

    def answered(self, model: str, status: int) -> None:
        """One answer has begun."""
        self._requests.labels(model, str(status)).inc()

    def used(self, model: str, tokens: Tokens, cost_usd: float) -> None:
        """One answer is over."""
        for kind, count in tokens.model_dump().items():
            self._tokens.labels(model, kind.removesuffix("_tokens")).inc(count)
        self._cost.labels(model).inc(cost_usd)

    def refused(self, reason: str) -> None:
        """One request went nowhere."""
        self._refused.labels(reason).inc()

    def passed_on(self, seconds: float) -> None:
        """One request left after so long."""
        self._overhead.observe(seconds)

    def uncounted(self) -> None:
        """The database did not take what an answer used."""
        self._uncounted.inc()

    def budget(self, budget: Budget, used_usd: float) -> None:
        """So much of a budget is used."""
        account = budget.account
        ratios = {
            project: entry
            for project, entry in self._ratios.get(account.kind, {}).items()
            if entry[0] == account.begins
        }
        ratios[account.project_key] = (account.begins, used_usd / budget.limit_usd)
        self._ratios[account.kind] = ratios
        self._budget.labels(account.kind).set(max(ratio for _, ratio in ratios.values()))

    def egress(self, *, allowed: bool) -> None:
        """The proxy asked."""
        self._egress.labels("allowed" if allowed else "refused").inc()
