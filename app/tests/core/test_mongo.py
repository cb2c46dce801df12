"""The connection to MongoDB and what its errors become."""

import pytest

from sdlc_agents import mongo
from sdlc_agents.errors import UnavailableError
from sdlc_agents.mongo import Database
from sdlc_agents.settings import MongoSettings
from support.proxy import CuttableProxy


async def test_a_primary_that_answers_is_ready(db: Database) -> None:
    await mongo.ping(db)


async def test_a_database_that_is_away_is_unavailable(make_settings, mongo_proxy: CuttableProxy) -> None:  # type: ignore[no-untyped-def]
    settings = make_settings(MongoSettings, mongo_url=mongo_proxy.url)
    async with mongo.connect(settings, application="tests", serverSelectionTimeoutMS=300) as client:
        db = mongo.database(client, settings)
        await mongo.ping(db)
        await mongo_proxy.cut()
        with pytest.raises(UnavailableError, match="database"):
            await mongo.ping(db)
