"""Jobs and sums as the gateway holds them: from the database, at most a second old, and right after each answer.

Without it every request would wait for the database twice. A job that is closed, or a budget that another gateway
spends, is noticed within `FRESH_SECONDS`. An answer of this gateway counts from its end on, not only once it is stored:
who reads no more than an answer's head could otherwise ask on while the database is slow.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.repository import Answer, Job, JobRepository, LedgerEntry
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.runs.tokens import digest
from sdlc_agents.spending.budgets import Budget, accounts, budgets, first_spent

FRESH_SECONDS = 1.0
_HELD = 1000
_LEAST_USD = 1e-9
_V = TypeVar("_V")


class _Fresh(Generic[_V]):
    """Values that are forgotten after `FRESH_SECONDS`; at most `_HELD` of them."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, tuple[float, _V]] = OrderedDict()

    def get(self, key: str) -> _V | None:
        found = self._values.get(key)
        return None if found is None or time.monotonic() - found[0] > FRESH_SECONDS else found[1]

    def put(self, key: str, value: _V, as_of: float) -> None:
        """Keep what was so at `as_of`, unless what is kept is newer."""
        kept = self._values.get(key)
        if kept is not None and kept[0] > as_of:
            return
        self._values[key] = (as_of, value)
        self._values.move_to_end(key)
        if len(self._values) > _HELD:
            self._values.popitem(last=False)

    def change(self, key: str, how: Callable[[_V], _V]) -> None:
        """Change what is kept, which does not make it newer."""
        kept = self._values.get(key)
        if kept is not None:
            self._values[key] = (kept[0], how(kept[1]))


class Ledger:
    """Finds the job of a token and a spent budget, and counts answers. `appliance_month_usd` None is no limit."""

    def __init__(self, jobs: JobRepository, metrics: GatewayMetrics, *, appliance_month_usd: float | None) -> None:
        self._repository = jobs
        self._metrics = metrics
        self._appliance_month = appliance_month_usd
        self._jobs: _Fresh[Job] = _Fresh()
        self._sums: _Fresh[float] = _Fresh()
        # USD of answers that are over and not stored yet, by the keys of what they are counted in.
        self._unstored: dict[str, float] = {}
        self._counting = asyncio.Lock()
        self._waiting: list[LedgerEntry] = []
        self._failed: set[str] = set()

    async def find(self, token: str) -> Job | None:
        """The job of a token, with what it used until now. Raises `UnavailableError` without a database."""
        key, as_of = digest(token), time.monotonic()
        job = self._jobs.get(key)
        # What was read while an answer was being stored may hold it twice: nobody is refused for that.
        if job is None or job.spent:
            job = await self._repository.find(key)
            if job is not None:
                self._jobs.put(key, job, as_of)
        return None if job is None else job.with_more(self._unstored.get(key, 0.0))

    async def spent(self, job: Job) -> tuple[Budget, float] | None:
        """A budget that the job shares and that is spent, with what was used. Raises `UnavailableError`."""
        held = budgets(job.limits(self._appliance_month), job.project_key, now())
        used: dict[str, float] = {}
        unknown = []
        for budget in held:
            usd = self._sums.get(budget.account.id)
            if usd is None or budget.spent_by(usd):
                unknown.append(budget)
            else:
                used[budget.account.id] = usd
        if unknown:
            as_of = time.monotonic()
            found = await self._repository.used(unknown)
            for budget in unknown:
                usd = used[budget.account.id] = found.get(budget.account.id, 0.0)
                self._sums.put(budget.account.id, usd, as_of)
        for budget in held:
            used[budget.account.id] += self._unstored.get(budget.account.id, 0.0)
            self._metrics.budget(budget, used[budget.account.id])
        return first_spent(held, used)

    def expect(self, job: Job, answer: Answer) -> LedgerEntry:
        """An answer that is over: from now on it counts here, and after `store` everywhere."""
        entry = LedgerEntry(job, answer, accounts(job.project_key, now()))
        for key in entry.counted_in():
            self._unstored[key] = self._unstored.get(key, 0.0) + answer.cost_usd
        return entry

    async def store(self, entry: LedgerEntry) -> None:
        """Store what `expect` gave. Raises `UnavailableError` when that is not certain: it may be tried again."""
        self._waiting.append(entry)
        # Answers that end together go to the same sums: one at a time, each with those that came meanwhile.
        async with self._counting:
            if entry in self._waiting:
                entries, self._waiting = self._waiting, []
                await self._write(entries)
        if entry.answer.answer_id in self._failed:
            self._failed.discard(entry.answer.answer_id)
            raise UnavailableError("the database is not available")
        usd = entry.answer.cost_usd
        self._jobs.change(entry.job.token_sha256, lambda kept: kept.with_more(usd))
        for account in entry.accounts:
            self._sums.change(account.id, lambda kept: kept + usd)
        self.forget(entry)

    def forget(self, entry: LedgerEntry) -> None:
        """Count what `expect` gave no longer beside what is stored."""
        for key in entry.counted_in():
            self._unstored[key] -= entry.answer.cost_usd
            if self._unstored[key] < _LEAST_USD:
                del self._unstored[key]

    async def _write(self, entries: list[LedgerEntry]) -> None:
        try:
            await self._repository.add(entries)
        except BaseException as error:
            # All of them hear of it, each to try again: what stands against one must not stop the others.
            self._failed |= {entry.answer.answer_id for entry in entries}
            if not isinstance(error, UnavailableError):
                raise
