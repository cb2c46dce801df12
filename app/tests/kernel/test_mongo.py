"""The connection to MongoDB and what its errors become."""

import asyncio

import pymongo
import pytest
from pymongo.errors import DuplicateKeyError

from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.errors import ConflictError, UnavailableError
from sdlc_agents.kernel.mongo import Database, Session
from sdlc_agents.kernel.settings import MongoSettings
from support.backends import MakeSettings
from support.proxy import CuttableProxy


async def test_a_primary_that_answers_is_ready(db: Database) -> None:
    await mongo.ping(db)


async def test_a_database_that_is_away_is_unavailable(mongo_proxy: CuttableProxy, make_settings: MakeSettings) -> None:
    settings = make_settings(MongoSettings, mongo_url=mongo_proxy.url)
    async with mongo.connect(settings, application="tests") as client:
        db = mongo.database(client, settings)
        await mongo.ping(db)
        await mongo_proxy.cut()
        with pytest.raises(UnavailableError, match="database"), pymongo.timeout(0.5):
            await mongo.ping(db)
        with pytest.raises(UnavailableError), mongo.translate_errors(), pymongo.timeout(0.5):
            await db["projects"].insert_one({})


async def test_an_error_that_is_no_outage_passes(db: Database) -> None:
    await db["audit"].insert_one({"_id": "x"})
    with pytest.raises(DuplicateKeyError), mongo.translate_errors():
        await db["audit"].insert_one({"_id": "x"})


async def test_a_transaction_that_fails_writes_nothing(db: Database) -> None:
    async def work(session: Session) -> None:
        await db["agent_jobs"].insert_one({"_id": "x", "token_sha256": "0", "development_id": "d"}, session=session)
        raise ConflictError("no")

    with pytest.raises(ConflictError):
        await mongo.in_transaction(db, work)
    assert await db["agent_jobs"].count_documents({}) == 0


async def test_transactions_in_each_others_way_all_succeed(db: Database) -> None:
    await db["audit"].insert_one({"_id": "counter", "value": 0})

    async def work(session: Session) -> None:
        with mongo.translate_errors():  # as repositories do
            document = await db["audit"].find_one({"_id": "counter"}, session=session)
            assert document is not None
            await db["audit"].replace_one({"_id": "counter"}, {"value": document["value"] + 1}, session=session)

    await asyncio.gather(*(mongo.in_transaction(db, work) for _ in range(5)))
    assert (await db["audit"].find_one({"_id": "counter"}) or {})["value"] == 5


async def test_a_transaction_that_the_database_leaves_ends_in_time(
    mongo_proxy: CuttableProxy, make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo, "OPERATION_SECONDS", 2)
    settings = make_settings(MongoSettings, mongo_url=mongo_proxy.url)
    async with mongo.connect(settings, application="tests") as client:
        db = mongo.database(client, settings)

        async def work(session: Session) -> None:
            await db["audit"].insert_one({"_id": "lost"}, session=session)

        await mongo.ping(db)
        await mongo_proxy.cut()
        async with asyncio.timeout(20):
            with pytest.raises(UnavailableError, match="database"):
                await mongo.in_transaction(db, work)
