"""Asks one MongoDB member for its figures, anew at every scrape."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

import structlog
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import GaugeMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector
from pymongo.errors import OperationFailure, PyMongoError

from sdlc_agents.kernel.mongo import Client, Document
from sdlc_agents.kernel.rights import CLUSTER, Action, Resource, rights, together
from sdlc_agents.mongodb_exporter.naming import Labels, Sample, samples

SOURCE_SECONDS = 5.0
"""How long one source may take; what it would have said is missing from that scrape then."""

RIGHTS = together(
    rights(
        Action.SERVER_STATUS,
        Action.REPLICA_SET_STATUS,
        Action.REPLICA_SET_CONFIG,
        Action.LIST_DATABASES,
        Action.TOP,
        on=CLUSTER,
    ),
    # Of every database; MongoDB asks for its own two by name.
    *(rights(Action.DB_STATS, on=Resource(database=database)) for database in ("", "config", "local")),
    rights(Action.COLL_STATS, on=Resource("oplog.rs", "local")),
)
"""Figures alone: it reads no document, of the oplog neither, where every prompt and every key's hash passes."""

# What a member answers that is no replica set, or not yet.
_NO_REPLICATION = {76, 94}

# The sections of `serverStatus` that take long.
_NOTHING_ELSE: Document = dict.fromkeys(("locks", "metrics", "repl", "sharding", "tcmalloc", "wiredTiger"), 0)

log = structlog.get_logger()


class MemberCollector(Collector):
    """The figures of the member that `client` is connected to.

    `refresh` asks the member; `collect`, which Prometheus's client library calls, hands out what was learned last.
    A member that is away gives `mongodb_up 0` and nothing else; a source that fails is left out, logged and counted.
    """

    def __init__(self, client: Client, registry: CollectorRegistry) -> None:
        self._client = client
        self._metrics: list[Metric] = []
        self._was_up = True
        self._refreshing = asyncio.Lock()
        self._failures = Counter(
            "sdlc_mongodb_exporter_failures_total",
            "Number of times a source of metrics could not be read",
            ["source"],
            registry=registry,
        )
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The metrics of the last refresh."""
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: which metrics there are depends on the member's version."""
        return ()

    async def ping(self) -> None:
        """Raise unless the member answers."""
        await self._client.admin.command("ping")

    async def refresh(self) -> None:
        """Ask the member for everything; two scrapes at once do so one after the other."""
        async with self._refreshing:
            up = await self._is_up()
            found: list[Sample] = []
            if up:
                labels = await self._replication(found)
                await asyncio.gather(*(self._read(source, labels, found) for source in self._sources()))
            self._metrics = [
                GaugeMetricFamily("mongodb_up", "Whether MongoDB is up.", value=float(up)),
                *_families(found),
            ]

    async def _is_up(self) -> bool:
        try:
            async with asyncio.timeout(SOURCE_SECONDS):
                await self.ping()
        except (PyMongoError, TimeoutError) as error:
            if self._was_up:
                log.warning("member_away", error=_reason(error))
            self._was_up = False
        else:
            if not self._was_up:
                log.info("member_back")
            self._was_up = True
        return self._was_up

    async def _replication(self, found: list[Sample]) -> Labels:
        """Read the replica set's state first: every other sample carries its name and this member's part in it."""
        labels: dict[str, str] = {"cl_role": "mongod"}

        async def read() -> None:
            status: Document = await self._client.admin.command("replSetGetStatus")
            config: Document = await self._client.admin.command("replSetGetConfig")
            labels["rs_nm"] = str(status["set"])
            labels["rs_state"] = str(status["myState"])
            labels["cl_id"] = str(config["config"].get("settings", {}).get("replicaSetId", ""))
            found.extend(samples("replSetGetStatus", status, {**labels, "set": str(status["set"])}))

        await self._guard("replSetGetStatus", read)
        return labels

    def _sources(self) -> list[Callable[[Labels], AsyncIterator[Sample]]]:
        return [self._server_status, self._build_info, self._database_sizes, self._top, self._oplog]

    async def _read(
        self, source: Callable[[Labels], AsyncIterator[Sample]], labels: Labels, found: list[Sample]
    ) -> None:
        async def read() -> None:
            found.extend([sample async for sample in source(labels)])

        await self._guard(source.__name__.strip("_"), read)

    async def _guard(self, source: str, read: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(SOURCE_SECONDS):
                await read()
        except (PyMongoError, TimeoutError) as error:
            if isinstance(error, OperationFailure) and error.code in _NO_REPLICATION:
                return
            log.warning("source_failed", source=source, error=_reason(error))
            self._failures.labels(source).inc()

    async def _server_status(self, labels: Labels) -> AsyncIterator[Sample]:
        for sample in samples("serverStatus", await self._client.admin.command("serverStatus"), labels):
            yield sample

    async def _build_info(self, labels: Labels) -> AsyncIterator[Sample]:
        info: Document = await self._client.admin.command("buildInfo")
        edition = "Enterprise" if "enterprise" in info.get("modules", []) else "Community"
        vendor = "Percona" if "psmdbVersion" in info else "MongoDB"
        version = {"mongodb": str(info["version"]), "edition": edition, "vendor": vendor}
        yield Sample("mongodb_version_info", {**labels, **version}, 1.0)

    async def _database_sizes(self, labels: Labels) -> AsyncIterator[Sample]:
        for name in await self._client.list_database_names():
            stats: Document = await self._client[name].command("dbStats")
            for sample in samples("dbstats", stats, {**labels, "database": name}):
                yield sample

    async def _top(self, labels: Labels) -> AsyncIterator[Sample]:
        answer: Document = await self._client.admin.command("top")
        for namespace, usage in answer["totals"].items():
            if isinstance(usage, Mapping):
                database, _, collection = namespace.partition(".")
                for sample in samples("top", usage, {**labels, "database": database, "collection": collection}):
                    yield sample

    async def _oplog(self, labels: Labels) -> AsyncIterator[Sample]:
        if "rs_nm" not in labels:
            return
        local = self._client["local"]
        stats: Document = await local.command("collStats", "oplog.rs")
        sizes = {name: value for name, value in stats.items() if not isinstance(value, Mapping)}
        for sample in samples("local.oplog.rs.stats", sizes, labels):
            yield sample
        # The ends of the oplog, which MongoDB tells to whom it is asked for, without the entries.
        status: Document = await self._client.admin.command({"serverStatus": 1, **_NOTHING_ELSE, "oplog": 1})
        for end, time in (("tail", "earliestOptime"), ("head", "latestOptime")):
            yield Sample(f"mongodb_mongod_replset_oplog_{end}_timestamp", labels, float(status["oplog"][time].time))


def _reason(error: Exception) -> str:
    """An error in a few words: what the server says at length repeats the command with its session and signature."""
    if isinstance(error, OperationFailure) and error.details is not None:
        return str(error.details.get("codeName", error.code))
    return repr(error)


def _families(found: Iterable[Sample]) -> Iterable[Metric]:
    families: dict[str, UnknownMetricFamily] = {}
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for sample in found:
        series = (sample.name, frozenset(sample.labels.items()))
        if series in seen:  # two paths may shorten to one name; a series may stand in an answer only once
            continue
        seen.add(series)
        family = families.setdefault(sample.name, UnknownMetricFamily(sample.name, "From MongoDB's own counters."))
        family.add_sample(sample.name, dict(sample.labels), sample.value)
    return families.values()
