"""The exporter, asked over HTTP, against a real MongoDB."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo.errors import OperationFailure

from sdlc_agents.kernel.mongo import Client, Database
from sdlc_agents.kernel.settings import MongoSettings
from sdlc_agents.mongodb_exporter.service import serve_exporter
from support.backends import Backends, MakeSettings
from support.database_users import DatabaseUsers
from support.processes import free_port
from support.proxy import CuttableProxy

Values = dict[str, list[tuple[dict[str, str], float]]]


class Exporter:
    """A running exporter."""

    def __init__(self, port: int) -> None:
        self._http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)

    async def get(self, path: str) -> httpx.Response:
        return await self._http.get(path)

    async def values(self) -> Values:
        """What a scrape gives: name → (labels, value)."""
        answer = await self.get("/metrics")
        assert answer.status_code == 200
        found: Values = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    async def close(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def _running(settings: MongoSettings) -> AsyncIterator[Exporter]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve_exporter(settings, stop))
    exporter = Exporter(settings.metrics_port)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    await exporter.get("/health")
                except httpx.ConnectError:
                    if task.done():
                        break
                    await asyncio.sleep(0.02)
                else:
                    break
        yield exporter
    finally:
        await exporter.close()
        stop.set()
        await task


@pytest.fixture
async def exporter(database_users: DatabaseUsers, make_settings: MakeSettings) -> AsyncIterator[Exporter]:
    """One with the rights of the exporter's user, and no other."""
    settings = make_settings(MongoSettings, mongo_url=database_users.url("exporter"), metrics_port=free_port())
    async with _running(settings) as running:
        yield running


async def test_a_scrape_has_every_source_with_the_exporters_rights(exporter: Exporter, db: Database) -> None:
    await db["exporter_probe"].insert_one({"name": "x"})

    values = await exporter.values()

    assert values["mongodb_up"] == [({}, 1.0)]
    for name in (
        "mongodb_ss_uptime",
        "mongodb_ss_connections",
        "mongodb_ss_wt_cache_bytes_currently_in_the_cache",
        "mongodb_rs_members_health",
        "mongodb_oplog_stats_maxSize",
        "mongodb_mongod_replset_oplog_head_timestamp",
        "mongodb_version_info",
    ):
        assert name in values, name
    assert (1.0, db.name) in [(value, labels["database"]) for labels, value in values["mongodb_dbstats_ok"]]
    assert {"config", "local"} <= {labels["database"] for labels, _ in values["mongodb_dbstats_ok"]}
    assert "exporter_probe" in {labels["collection"] for labels, _ in values["mongodb_top_total_time"]}
    assert "sdlc_mongodb_exporter_failures_total" not in values


async def test_the_ends_of_the_oplog_are_those_that_its_entries_have(exporter: Exporter, client: Client) -> None:
    oplog = client["local"]["oplog.rs"]

    async def newest() -> float:
        entry = await oplog.find_one({}, {"ts": 1}, sort=[("$natural", -1)])
        assert entry is not None
        return float(entry["ts"].time)

    before = await newest()
    values = await exporter.values()
    ((_, head),) = values["mongodb_mongod_replset_oplog_head_timestamp"]
    ((_, tail),) = values["mongodb_mongod_replset_oplog_tail_timestamp"]
    assert before <= head <= await newest()
    assert 0 < tail <= before


async def test_the_exporters_user_reads_no_document(database_users: DatabaseUsers, db: Database) -> None:
    await db["agent_events"].insert_one({"development_id": "d", "text": "said in confidence"})
    async with database_users.client("exporter") as exporter:
        for database, collection in (("local", "oplog.rs"), (db.name, "agent_events"), ("admin", "system.users")):
            with pytest.raises(OperationFailure, match="not authorized"):
                await exporter[database][collection].find_one()


async def test_every_series_names_the_replica_set_and_the_members_part_in_it(exporter: Exporter) -> None:
    ((labels, _),) = (await exporter.values())["mongodb_ss_uptime"]

    assert labels["rs_nm"] == "rs0"
    assert labels["rs_state"] == "1"
    assert labels["cl_role"] == "mongod"


async def test_each_scrape_reads_anew(exporter: Exporter, db: Database) -> None:
    def inserts(values: Values) -> float:
        return next(v for labels, v in values["mongodb_ss_opcounters"] if labels["legacy_op_type"] == "insert")

    before = inserts(await exporter.values())
    await db["exporter_probe"].insert_many([{"name": str(number)} for number in range(3)])

    assert inserts(await exporter.values()) >= before + 3


async def test_no_series_stands_twice_in_an_answer(exporter: Exporter) -> None:
    for name, series in (await exporter.values()).items():
        labels = [frozenset(given.items()) for given, _ in series]
        assert len(labels) == len(set(labels)), name


async def test_a_user_without_the_rights_is_counted_and_the_rest_still_answered(
    client: Client, backends: Backends, make_settings: MakeSettings
) -> None:
    name, password = f"nobody_{secrets.token_hex(4)}", secrets.token_hex(16)
    await client.admin.command("createUser", name, pwd=password, roles=[])
    url = f"mongodb://{name}:{password}@{backends.mongo_url.rpartition('@')[2]}"
    try:
        async with _running(make_settings(MongoSettings, mongo_url=url, metrics_port=free_port())) as exporter:
            values = await exporter.values()
    finally:
        await client.admin.command("dropUser", name)

    assert values["mongodb_up"] == [({}, 1.0)]
    assert "mongodb_version_info" in values
    failed = {labels["source"] for labels, value in values["sdlc_mongodb_exporter_failures_total"] if value == 1}
    assert {"server_status", "replSetGetStatus", "top"} <= failed


async def test_a_member_that_is_away_is_down_and_comes_back(
    mongo_proxy: CuttableProxy, make_settings: MakeSettings
) -> None:
    settings = make_settings(MongoSettings, mongo_url=mongo_proxy.url, metrics_port=free_port())
    async with _running(settings) as exporter:
        assert (await exporter.values())["mongodb_up"] == [({}, 1.0)]

        await mongo_proxy.cut()
        values = await exporter.values()
        assert values["mongodb_up"] == [({}, 0.0)]
        assert not any(name.startswith("mongodb_ss_") for name in values)
        assert (await exporter.get("/health")).status_code == 200
        ready = await exporter.get("/ready")
        assert ready.status_code == 503
        assert "mongodb" in ready.json()["error"]

        await mongo_proxy.mend()
        assert (await exporter.values())["mongodb_up"] == [({}, 1.0)]
        assert (await exporter.get("/ready")).status_code == 200
