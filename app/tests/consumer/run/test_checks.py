"""A consumer answers whether a project can be worked on, also while it works."""

import asyncio
from datetime import timedelta

import httpx
import pytest

from sdlc_agents.consumer.forge_checks import ForgeChecks
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.projects.repository import ForgeCheckRepository
from support.agents import Developments, RunnerProcesses, StartConsumer
from support.lab import Gitea
from support.relay import EgressProxy
from support.waiting import until

pytestmark = pytest.mark.timeout(120)


async def test_a_busy_consumer_answers_within_seconds(
    gitea: Gitea,
    runners: RunnerProcesses,
    developments: Developments,
    db: Database,
    proxy: EgressProxy,
    start_consumer: StartConsumer,
) -> None:
    await runners.start()
    repository = await gitea.make_repository()
    await developments.register(repository)
    async with start_consumer():
        running = await developments.queue("[[lab:bash]]\n```bash\nsleep 20\n```\n", age=timedelta(minutes=5))
        await developments.until(running, {"running"}, 60)
        project = await db["projects"].find_one({"jira_project_key": developments.project_key})
        assert project is not None
        asked = await ForgeCheckRepository(db).request(project["_id"], "somebody")
        clock = asyncio.get_running_loop()
        began = clock.time()

        async def done() -> bool:
            return await db["project_checks"].count_documents({"_id": asked["_id"], "state": "done"}) == 1

        await until(done)
        assert clock.time() - began < 5
        assert (await developments.get(running))["status"] == "running"
    check = await db["project_checks"].find_one({"_id": asked["_id"]})
    assert check is not None
    assert [(result["ok"], result["problems"]) for result in check["results"]] == [(True, [])]
    assert gitea.url.removeprefix("https://") in proxy.asked


async def test_a_check_that_fails_oddly_keeps_no_other_waiting(
    developments: Developments, db: Database, cipher: FieldCipher
) -> None:
    await developments.register("https://git.example/shop/storefront")
    project = await db["projects"].find_one()
    assert project is not None
    await db["projects"].update_one(
        {"_id": project["_id"]}, {"$unset": {"repositories": 1}}, bypass_document_validation=True
    )
    asked = ForgeCheckRepository(db)
    await asked.request(project["_id"], "somebody")
    other = await asked.request("no such project", "somebody")

    async def done() -> bool:
        return await db["project_checks"].count_documents({"_id": other["_id"], "state": "done"}) == 1

    async with httpx.AsyncClient(trust_env=False) as outside:
        answering = asyncio.create_task(ForgeChecks(db, cipher, outside).run())
        try:
            await until(done)
            assert not answering.done()
        finally:
            answering.cancel()
            await asyncio.wait({answering})
