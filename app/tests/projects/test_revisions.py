"""Optimistic concurrency: ETag, If-Match, 412."""

import asyncio
from typing import Any

import httpx
import pytest

from sdlc_agents.kernel.mongo import Database
from support.projects import project, repository


async def created(api: httpx.AsyncClient) -> dict[str, Any]:
    response = await api.post("/api/projects", json=project(repositories=[repository(), repository(repository_id="b")]))
    assert (response.status_code, response.headers["ETag"]) == (201, '"1"')
    body: dict[str, Any] = response.json()
    return body


async def test_each_change_raises_the_revision_and_says_so(api: httpx.AsyncClient) -> None:
    body = await created(api)
    path, of_project = f"/api/projects/{body['id']}", f"?project_id={body['id']}"
    answers = [
        await api.put(path, json={**body, "name": "Renamed"}),
        await api.post(f"{path}/repositories", json=repository(repository_id="c")),
        await api.put(f"/api/repositories/c{of_project}", json=repository(repository_id="c")),
        await api.delete(f"/api/repositories/c{of_project}"),
        await api.get(f"{path}/repositories"),
        await api.get(path),
    ]
    assert [answer.headers["ETag"] for answer in answers] == ['"2"', '"3"', '"4"', '"5"', '"5"', '"5"']
    assert answers[-1].json()["revision"] == 5


@pytest.mark.parametrize("if_match", ['"1"', "*", '"7", "1"', 'W/"1", "1"'])
async def test_a_change_of_the_known_state_is_made(api: httpx.AsyncClient, if_match: str) -> None:
    body = await created(api)
    response = await api.put(f"/api/projects/{body['id']}", json=body, headers={"If-Match": if_match})
    assert (response.status_code, response.json()["revision"]) == (200, 2)


@pytest.mark.parametrize("if_match", ['"2"', '"0"', 'W/"1"', '"2", "3"', '""'])
async def test_a_change_of_another_state_is_refused_and_leaves_everything(
    api: httpx.AsyncClient, db: Database, if_match: str
) -> None:
    body = await created(api)
    path, headers = f"/api/projects/{body['id']}", {"If-Match": if_match}
    other = repository(repository_id="c")
    answers = [
        await api.put(path, json={**body, "name": "Mine"}, headers=headers),
        await api.post(f"{path}/repositories", json=other, headers=headers),
        await api.put(
            f"/api/repositories/b?project_id={body['id']}", json={**other, "repository_id": None}, headers=headers
        ),
        await api.delete(f"/api/repositories/b?project_id={body['id']}", headers=headers),
        await api.delete(path, headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [412] * 5
    assert "has revision 1 now" in answers[0].json()["error"]
    assert (await api.get(path)).json() == body
    assert await db["audit_log"].count_documents({}) == 1


@pytest.mark.parametrize("if_match", ["1", '"1', '"1" "2"', '"a"b', ""])
async def test_what_is_no_etag_is_a_bad_request(api: httpx.AsyncClient, if_match: str) -> None:
    body = await created(api)
    response = await api.delete(f"/api/projects/{body['id']}", headers={"If-Match": if_match})
    assert response.status_code == 400
    assert response.json()["error"].startswith("If-Match: ")


async def test_a_project_from_before_revisions_has_the_first(api: httpx.AsyncClient, db: Database) -> None:
    body = await created(api)
    await db["projects"].update_one({"_id": body["id"]}, {"$unset": {"revision": ""}})
    path = f"/api/projects/{body['id']}"
    assert (await api.get(path)).headers["ETag"] == '"1"'
    changed = await api.put(path, json=body, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')


async def test_of_many_writers_who_know_the_same_state_one_succeeds(api: httpx.AsyncClient, db: Database) -> None:
    body = await created(api)
    path = f"/api/projects/{body['id']}"
    answers = await asyncio.gather(
        *(api.put(path, json={**body, "name": f"Writer {n}"}, headers={"If-Match": '"1"'}) for n in range(12))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 11
    (winner,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await api.get(path)).json() == winner
    assert await db["audit_log"].count_documents({"action": "project.updated"}) == 1


async def test_writers_who_read_again_after_a_412_lose_no_change(api: httpx.AsyncClient, db: Database) -> None:
    body = await created(api)
    path = f"/api/projects/{body['id']}"

    async def append(letter: str) -> None:
        while True:
            seen = await api.get(path)
            text = seen.json()["description"] + letter
            answer = await api.put(
                path, json={**seen.json(), "description": text}, headers={"If-Match": seen.headers["ETag"]}
            )
            if answer.status_code == 200:
                return
            assert answer.status_code == 412

    await asyncio.gather(*(append(letter) for letter in "abcdefgh"))
    final = (await api.get(path)).json()
    assert sorted(final["description"].removeprefix(body["description"])) == list("abcdefgh")
    assert final["revision"] == 9
    revisions = [entry["after"]["revision"] async for entry in db["audit_log"].find().sort("after.revision", 1)]
    assert revisions == list(range(1, 10))


async def test_writers_without_if_match_all_succeed_one_after_the_other(api: httpx.AsyncClient) -> None:
    body = await created(api)
    path = f"/api/projects/{body['id']}"
    added = [repository(repository_id=f"r{number}") for number in range(8)]
    answers = await asyncio.gather(*(api.post(f"{path}/repositories", json=given) for given in added))
    assert [answer.status_code for answer in answers] == [201] * 8
    final = (await api.get(path)).json()
    assert {r["repository_id"] for r in final["repositories"]} == {
        "storefront",
        "b",
        *(r["repository_id"] for r in added),
    }
    assert final["revision"] == 9
