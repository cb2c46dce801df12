"""POST /api/projects/{id}/check, with a consumer's answers from a real Gitea."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import trustme
from bson.binary import Binary
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from sdlc_agents.consumer import forge_checks
from sdlc_agents.consumer.forge_checks import ForgeChecks
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.serving import serve
from sdlc_agents.projects.repository import ForgeCheckRepository
from support.backends import EveryService, MakeSettings
from support.lab import Gitea, GiteaRepository
from support.processes import free_port
from support.projects import project, repository
from support.proxy import CuttableProxy
from support.relay import tls_front
from support.waiting import until


@pytest.fixture
async def outside(gitea: Gitea) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=gitea.ca_file)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        yield client


Answering = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
def answering(db: Database, cipher: FieldCipher, outside: httpx.AsyncClient) -> Answering:
    """`async with answering():` the part of a consumer that answers."""

    @asynccontextmanager
    async def run() -> AsyncIterator[None]:
        task = asyncio.create_task(ForgeChecks(db, cipher, outside).run())
        yield
        task.cancel()
        await asyncio.wait({task})

    return run


@pytest.fixture
async def consumer(answering: Answering) -> AsyncIterator[None]:
    """A consumer that answers during the test."""
    async with answering():
        yield


def of(found: GiteaRepository, **fields: Any) -> dict[str, Any]:
    """As a project has it."""
    given = {"repository_id": found.name, "url": found.url, "git_access_token": found.gitea.bot_token}
    return repository(**{**given, "base_branch": None, **fields})


async def registered(api: httpx.AsyncClient, *repositories: dict[str, Any]) -> str:
    response = await api.post("/api/projects", json=project(repositories=list(repositories)))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


@pytest.mark.usefixtures("consumer")
async def test_a_project_that_can_be_worked_on_is_ok(api: httpx.AsyncClient, gitea: Gitea, db: Database) -> None:
    found = await gitea.make_repository()
    project_id = await registered(api, of(found))
    clock = asyncio.get_running_loop()
    began = clock.time()
    response = await api.post(f"/api/projects/{project_id}/check")
    assert clock.time() - began < 5
    body = response.json()
    assert response.status_code == 200
    assert (body["project_id"], body["state"], body["ok"]) == (project_id, "done", True)
    assert body["results"] == [{"repository_id": found.name, "url": found.url, "ok": True, "problems": []}]
    assert body["done_at"] >= body["requested_at"]
    stored = await db["project_checks"].find_one()
    assert stored is not None
    assert gitea.bot_token not in str(stored)
    assert stored["requested_by"] == "write"


@pytest.mark.usefixtures("consumer")
async def test_each_repository_has_its_own_answer(api: httpx.AsyncClient, gitea: Gitea) -> None:
    good, readonly = await gitea.make_repository(), await gitea.make_repository(write=False)
    project_id = await registered(
        api,
        of(good),
        of(good, repository_id="no-branch", base_branch="develop"),
        of(good, repository_id="bad-token", git_access_token="0" * 40),
        of(readonly),
        repository(repository_id="elsewhere", url="https://bitbucket.org/demo/shop"),
        repository(repository_id="away", url=f"https://127.0.0.1:{free_port()}/demo/shop"),
    )
    body = (await api.post(f"/api/projects/{project_id}/check")).json()
    assert body["ok"] is False
    said = {result["repository_id"]: [problem["code"] for problem in result["problems"]] for result in body["results"]}
    assert said == {
        good.name: [],
        "no-branch": ["base_branch_missing"],
        "bad-token": ["token_refused"],
        readonly.name: ["no_push_right"],
        "elsewhere": ["forge_unsupported"],
        "away": ["forge_unreachable"],
    }
    assert "0" * 40 not in str(body)


@pytest.mark.usefixtures("consumer")
async def test_where_reviewers_may_ask_the_rights_to_hear_them_are_checked(
    api: httpx.AsyncClient, gitea: Gitea
) -> None:
    found = await gitea.make_repository()
    name, token = await gitea.make_user("write:repository")
    await found.call("PUT", f"/collaborators/{name}", {"permission": "write"})
    given = project(repositories=[of(found, git_access_token=token)])
    project_id = (await api.post("/api/projects", json=given)).json()["id"]
    assert (await api.post(f"/api/projects/{project_id}/check")).json()["ok"] is True
    await api.put(f"/api/projects/{project_id}", json={**given, "pull_requests": {"follow_up_by": ["kim"]}})
    (result,) = (await api.post(f"/api/projects/{project_id}/check")).json()["results"]
    assert [problem["code"] for problem in result["problems"]] == ["no_review_right"]
    assert "read:issue and read:user" in result["problems"][0]["message"]


@pytest.mark.usefixtures("consumer")
async def test_what_cannot_be_tried_is_said_for_that_repository_alone(
    api: httpx.AsyncClient, gitea: Gitea, db: Database
) -> None:
    found = await gitea.make_repository()
    project_id = await registered(api, of(found), of(found, repository_id="b"), of(found, repository_id="c"))
    await db["projects"].update_one(
        {"_id": project_id},
        {
            "$set": {
                "repositories.1.git_access_token": Binary(b"\x01" + b"x" * 60, 6),
                "repositories.2.url": "https://[/",
            }
        },
    )
    body = (await api.post(f"/api/projects/{project_id}/check")).json()
    assert [[problem["code"] for problem in result["problems"]] for result in body["results"]] == [
        [],
        ["token_unreadable"],
        ["forge_failed"],
    ]


async def test_a_forge_that_never_answers_is_given_up(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, answering: Answering, authority: trustme.CA
) -> None:
    monkeypatch.setattr(forge_checks, "REPOSITORY_SECONDS", 0.5)

    async def silent(request: Request) -> Response:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        return Response()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = Starlette(routes=[Route("/{rest:path}", silent)])
    async with serve(app, port=0, host="127.0.0.1", graceful_seconds=1) as port, answering():
        with tls_front(port, context) as front:
            project_id = await registered(api, repository(url=f"https://127.0.0.1:{front}/demo/shop"))
            body = (await api.post(f"/api/projects/{project_id}/check")).json()
    (problem,) = body["results"][0]["problems"]
    assert problem["code"] == "forge_unreachable"
    assert "within 0.5 seconds" in problem["message"]


async def test_without_a_consumer_the_check_waits_at_its_address(
    api: httpx.AsyncClient, gitea: Gitea, answering: Answering
) -> None:
    project_id = await registered(api, of(await gitea.make_repository()))
    first = await api.post(f"/api/projects/{project_id}/check", params={"wait_seconds": 0})
    body = first.json()
    assert (first.status_code, body["state"], body["ok"], body["results"]) == (202, "waiting", None, None)
    address = first.headers["Location"]
    assert address == f"/api/projects/{project_id}/checks/{body['id']}"
    assert (await api.get(address)).json() == body
    again = await api.post(f"/api/projects/{project_id}/check", params={"wait_seconds": 1})
    assert (again.status_code, again.json()["id"]) == (202, body["id"])

    async def done() -> bool:
        return bool((await api.get(address)).json()["state"] == "done")

    async with answering():
        await until(done)
    assert (await api.get(address)).json()["ok"] is True


async def test_a_check_whose_consumer_was_lost_is_another_ones(db: Database) -> None:
    repository = ForgeCheckRepository(db)
    asked = await repository.request("p", "somebody")
    claimed = await repository.claim(60)
    assert claimed is not None
    assert claimed["_id"] == asked["_id"]
    assert await repository.claim(60) is None
    assert (await repository.request("p", "somebody"))["_id"] != asked["_id"], "what has begun may have read old tokens"
    await db["project_checks"].update_one(
        {"_id": asked["_id"]}, {"$set": {"claimed_until": now() - timedelta(seconds=1)}}
    )
    claimed = await repository.claim(60)
    assert claimed is not None
    assert claimed["_id"] == asked["_id"]


async def test_a_project_that_was_removed_meanwhile_has_no_results(
    api: httpx.AsyncClient, db: Database, answering: Answering
) -> None:
    project_id = await registered(api, repository())
    await api.post(f"/api/projects/{project_id}/check", params={"wait_seconds": 0})
    await api.delete(f"/api/projects/{project_id}")

    async def done() -> bool:
        return await db["project_checks"].count_documents({"state": "done", "results": []}) == 1

    async with answering():
        await until(done)


async def test_a_database_that_comes_back_is_asked_again(
    make_settings: MakeSettings, db: Database, cipher: FieldCipher, mongo_proxy: CuttableProxy
) -> None:
    settings = make_settings(EveryService, mongo_url=mongo_proxy.url)
    async with (
        mongo.connect(settings, application="tests", timeoutMS=1000) as connected,
        httpx.AsyncClient() as http,
    ):
        await mongo_proxy.cut()
        with capture_logs() as logs:
            task = asyncio.create_task(ForgeChecks(mongo.database(connected, settings), cipher, http).run())

            async def noticed() -> bool:
                return any(entry["event"] == "dependency_away" for entry in logs)

            await until(noticed)
        await mongo_proxy.mend()
        asked = await ForgeCheckRepository(db).request("no such project", "somebody")

        async def done() -> bool:
            return await db["project_checks"].count_documents({"_id": asked["_id"], "state": "done"}) == 1

        await until(done)
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("wait", ["-1", "21", "x"])
async def test_a_wait_that_is_too_long_is_named(api: httpx.AsyncClient, wait: str) -> None:
    response = await api.post("/api/projects/x/check", params={"wait_seconds": wait})
    assert response.status_code == 400
    assert response.json()["error"].startswith("wait_seconds: ")


async def test_an_unknown_project_or_check_is_not_found(api: httpx.AsyncClient, db: Database) -> None:
    project_id = await registered(api, repository())
    other = await ForgeCheckRepository(db).request("another project", "somebody")
    answers = [
        await api.post("/api/projects/none/check"),
        await api.get("/api/projects/none/checks/none"),
        await api.get(f"/api/projects/{project_id}/checks/none"),
        await api.get(f"/api/projects/{project_id}/checks/{other['_id']}"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert answers[0].json() == {"error": "there is no such project"}
    assert answers[2].json() == {"error": "there is no such check"}
