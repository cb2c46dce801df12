"""/api/projects and /api/repositories."""

from typing import Any

import bson
import httpx
import pytest

from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Database
from support.projects import TOKEN, project, repository


async def created(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await api.post("/api/projects", json=project(**fields))
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def stored_token(db: Database, cipher: FieldCipher, position: int = 0) -> str:
    document = await db["projects"].find_one()
    assert document is not None
    return await cipher.decrypt(document["repositories"][position]["git_access_token"])


async def test_a_project_is_created_and_read_back(api: httpx.AsyncClient) -> None:
    body = await created(api)
    expected = project(repositories=[repository(git_access_token="****1234", forge=None)], trigger=None, revision=1)
    assert {name: body[name] for name in expected} == expected
    assert (await api.get(f"/api/projects/{body['id']}")).json() == body
    assert (await api.get("/api/projects")).json() == [body]


async def test_the_list_is_narrowed_by_jira_project_key(api: httpx.AsyncClient) -> None:
    shop = await created(api)
    await created(api, jira_project_key="OTHER")
    assert (await api.get("/api/projects", params={"jira_project_key": "SHOP"})).json() == [shop]
    assert (await api.get("/api/projects", params={"jira_project_key": "NONE"})).json() == []


async def test_the_list_is_sorted_by_key_and_paged_by_link(api: httpx.AsyncClient) -> None:
    for key in ("CC", "AA", "EE", "BB", "DD"):
        await created(api, jira_project_key=key)
    assert [shown["jira_project_key"] for shown in (await api.get("/api/projects")).json()] == [
        "AA", "BB", "CC", "DD", "EE",
    ]  # fmt: skip
    address = "/api/projects?limit=2"
    pages = []
    while address:
        answer = await api.get(address)
        pages.append([shown["jira_project_key"] for shown in answer.json()])
        address = answer.links.get("next", {}).get("url", "")
    assert pages == [["AA", "BB"], ["CC", "DD"], ["EE"]]
    after = await api.get("/api/projects", params={"cursor": "CC"})
    assert [shown["jira_project_key"] for shown in after.json()] == ["DD", "EE"]
    assert "Link" not in after.headers


async def test_a_list_that_was_cut_says_where_it_goes_on(api: httpx.AsyncClient, db: Database) -> None:
    body = await created(api, jira_project_key="A")
    document = await db["projects"].find_one({"_id": body["id"]})
    assert document is not None
    await db["projects"].insert_many(
        {**document, "_id": str(number), "jira_project_key": f"P{number:04}"} for number in range(1000)
    )
    first = await api.get("/api/projects")
    rest = await api.get(first.links["next"]["url"])
    assert (len(first.json()), [shown["jira_project_key"] for shown in rest.json()]) == (1000, ["P0999"])


async def test_a_key_that_lies_before_the_cursor_is_not_found_after_it(api: httpx.AsyncClient) -> None:
    await created(api)
    assert (await api.get("/api/projects", params={"jira_project_key": "SHOP", "cursor": "TT"})).json() == []


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "201"), ("limit", "x"), ("cursor", "c" * 256)])
async def test_a_wrong_parameter_of_the_list_is_named(api: httpx.AsyncClient, name: str, value: str) -> None:
    response = await api.get("/api/projects", params={name: value})
    assert response.status_code == 400
    assert response.json()["error"].startswith(f"{name}: ")


async def triggers(db: Database) -> dict[str, tuple[str, list[str]]]:
    """What the webhook API may read."""
    return {entry["_id"]: (entry["status"], entry["event_kinds"]) async for entry in db["project_triggers"].find()}


async def test_a_trigger_is_where_the_webhook_api_reads_it(api: httpx.AsyncClient, db: Database) -> None:
    chosen = {"status": "Ready for AI", "event_kinds": ["jira:issue_updated"]}
    body = await created(api, trigger=chosen)
    assert body["trigger"] == chosen
    assert await triggers(db) == {"SHOP": ("Ready for AI", ["jira:issue_updated"])}

    path = f"/api/projects/{body['id']}"
    await api.put(path, json={**body, "trigger": {}})
    both = ["jira:issue_created", "jira:issue_updated"]
    assert await triggers(db) == {"SHOP": ("In Development", both)}

    await api.put(path, json={**body, "jira_project_key": "MOVED"})
    assert await triggers(db) == {"MOVED": ("Ready for AI", ["jira:issue_updated"])}

    await api.post(f"{path}/repositories", json=repository(repository_id="second"))
    assert await triggers(db) == {"MOVED": ("Ready for AI", ["jira:issue_updated"])}

    await api.delete(path)
    assert await triggers(db) == {}


async def test_without_a_trigger_of_its_own_a_project_has_none_there(api: httpx.AsyncClient, db: Database) -> None:
    body = await created(api, trigger={})
    response = await api.put(f"/api/projects/{body['id']}", json=project())
    assert response.json()["trigger"] is None
    assert await triggers(db) == {}


async def test_a_refused_change_leaves_the_triggers(api: httpx.AsyncClient, db: Database) -> None:
    await created(api, trigger={"status": "Ready"})
    other = await created(api, jira_project_key="OTHER", trigger={"status": "Go"})
    before = await triggers(db)
    moved = await api.put(f"/api/projects/{other['id']}", json=project(trigger={"status": "Mine"}))
    assert moved.status_code == 409
    assert await triggers(db) == before


async def test_tokens_are_encrypted_in_the_database(api: httpx.AsyncClient, db: Database, cipher: FieldCipher) -> None:
    await created(api)
    document = await db["projects"].find_one()
    assert document is not None
    assert TOKEN[:-4].encode() not in bson.encode(document)
    assert document["repositories"][0]["git_access_token"].subtype == 6
    assert await stored_token(db, cipher) == TOKEN


@pytest.mark.parametrize(("token", "shown"), [("x" * 15 + "1", "****xxx1"), ("short-secret", "****")])
async def test_of_a_token_the_last_four_are_shown_at_most(api: httpx.AsyncClient, token: str, shown: str) -> None:
    body = await created(api, repositories=[repository(git_access_token=token)])
    assert body["repositories"][0]["git_access_token"] == shown


async def test_a_put_with_the_masked_token_keeps_the_stored_one(
    api: httpx.AsyncClient, db: Database, cipher: FieldCipher
) -> None:
    body = await created(api)
    response = await api.put(f"/api/projects/{body['id']}", json={**body, "name": "Renamed"})
    assert response.status_code == 200
    assert response.json()["name"] == "Renamed"
    assert response.json()["repositories"] == body["repositories"]
    assert await stored_token(db, cipher) == TOKEN


async def test_a_put_with_a_new_token_replaces_it(api: httpx.AsyncClient, db: Database, cipher: FieldCipher) -> None:
    body = await created(api)
    changed = project(repositories=[repository(git_access_token="glpat-zyxwvutsrqponmlk9876")])
    response = await api.put(f"/api/projects/{body['id']}", json=changed)
    assert response.json()["repositories"][0]["git_access_token"] == "****9876"
    assert await stored_token(db, cipher) == "glpat-zyxwvutsrqponmlk9876"


@pytest.mark.parametrize("change", [{"git_access_token": "****9999"}, {"repository_id": "another"}])
async def test_a_masked_token_that_belongs_to_no_stored_one_is_refused(
    api: httpx.AsyncClient, change: dict[str, str]
) -> None:
    body = await created(api)
    changed = {**body, "repositories": [{**body["repositories"][0], **change}]}
    response = await api.put(f"/api/projects/{body['id']}", json=changed)
    assert response.status_code == 400
    assert response.json()["error"].startswith("repositories.0.git_access_token: ")


async def test_a_masked_token_cannot_be_registered(api: httpx.AsyncClient) -> None:
    response = await api.post(
        "/api/projects", json=project(repositories=[repository(git_access_token="****1234", forge=None)])
    )
    assert response.status_code == 400


async def test_a_second_project_for_a_jira_project_is_a_conflict(api: httpx.AsyncClient, db: Database) -> None:
    await created(api)
    other = await created(api, jira_project_key="OTHER")
    again = await api.post("/api/projects", json=project(name="Again"))
    moved = await api.put(f"/api/projects/{other['id']}", json=project())
    assert (again.status_code, moved.status_code) == (409, 409)
    assert "jira_project_key" in again.json()["error"]
    assert await db["projects"].count_documents({}) == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name: "),
        ({"name": "   "}, "name: "),
        ({"name": "n" * 201}, "name: "),
        ({"name": None}, "name: "),
        ({"name": {"$ne": ""}}, "name: "),
        ({"jira_project_key": "shop"}, "jira_project_key: "),
        ({"jira_project_key": ""}, "jira_project_key: "),
        ({"jira_project_key": "A B"}, "jira_project_key: "),
        ({"jira_project_url": "javascript:alert(1)"}, "jira_project_url: "),
        ({"description": "nul\x00"}, "description: "),
        ({"repositories": []}, "repositories: "),
        ({"repositories": [repository(), repository()]}, "repositories: two have the same repository_id"),
        ({"repositories": [repository(url="git@git.example.com:shop/x")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="http://git.example.com/shop/x")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://user:pw@git.example.com/shop/x")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://git.example.com")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://git.example.com:99999/x")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://[::1/x")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://git.example.com/alone")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://git.example.com/a/b c")]}, "repositories.0.url: "),
        ({"repositories": [repository(url="https://git.example.com/a/b?c")]}, "repositories.0.url: "),
        ({"repositories": [repository(base_branch="a.lock")]}, "repositories.0.base_branch: "),
        ({"repositories": [repository(base_branch="a/.b")]}, "repositories.0.base_branch: "),
        ({"jira_project_url": "https://jira.example.com/a b"}, "jira_project_url: "),
        ({"name": "two\nlines"}, "name: "),
        ({"trigger": "Done"}, "trigger: "),
        ({"trigger": {"status": " "}}, "trigger.status: "),
        ({"trigger": {"status": "s" * 101}}, "trigger.status: "),
        ({"trigger": {"event_kinds": []}}, "trigger.event_kinds: "),
        ({"trigger": {"event_kinds": ["jira:issue_deleted"]}}, "trigger.event_kinds.0: "),
        ({"trigger": {"event_kinds": ["jira:issue_created"] * 2}}, "trigger.event_kinds: two are the same"),
        ({"repositories": [repository(base_branch="-x")]}, "repositories.0.base_branch: "),
        ({"repositories": [repository(base_branch="a..b")]}, "repositories.0.base_branch: "),
        ({"repositories": [repository(repository_id="../x")]}, "repositories.0.repository_id: "),
        ({"repositories": [repository(git_access_token="")]}, "repositories.0.git_access_token: "),
        ({"repositories": [repository(git_access_token="a b")]}, "repositories.0.git_access_token: "),
        ({"repositories": ["x"]}, "repositories.0: "),
    ],
)
async def test_a_wrong_field_is_named(api: httpx.AsyncClient, db: Database, fields: dict[str, Any], named: str) -> None:
    response = await api.post("/api/projects", json=project(**fields))
    assert response.status_code == 400
    assert response.json()["error"].startswith(named)
    assert TOKEN not in response.text
    assert await db["projects"].count_documents({}) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_a_body_that_is_no_project_is_a_bad_request(api: httpx.AsyncClient, body: bytes) -> None:
    response = await api.post("/api/projects", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, set(response.json())) == (400, {"error"})


async def test_a_project_is_deleted(api: httpx.AsyncClient) -> None:
    body = await created(api)
    assert (await api.delete(f"/api/projects/{body['id']}")).status_code == 204
    assert (await api.get(f"/api/projects/{body['id']}")).status_code == 404
    assert (await api.delete(f"/api/projects/{body['id']}")).status_code == 404


@pytest.mark.parametrize("identifier", ["0" * 24, "nonsense", "$where", "%7B%22$gt%22:%22%22%7D"])
async def test_an_unknown_project_is_not_found(api: httpx.AsyncClient, identifier: str) -> None:
    answers = [
        await api.get(f"/api/projects/{identifier}"),
        await api.put(f"/api/projects/{identifier}", json=project()),
        await api.get(f"/api/projects/{identifier}/repositories"),
        await api.post(f"/api/projects/{identifier}/repositories", json=repository()),
        await api.delete(f"/api/repositories/storefront?project_id={identifier}"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert answers[0].json() == {"error": "there is no such project"}


async def test_a_repository_is_added_with_an_id_of_its_own(api: httpx.AsyncClient) -> None:
    body = await created(api)
    path = f"/api/projects/{body['id']}/repositories"
    added = await api.post(path, json=repository(repository_id=None, url="https://git.example.com/shop/api"))
    assert added.status_code == 201
    assert added.json()["repository_id"]
    assert (await api.get(path)).json() == [*body["repositories"], added.json()]


async def test_a_repository_of_the_same_id_is_a_conflict(api: httpx.AsyncClient) -> None:
    body = await created(api)
    response = await api.post(f"/api/projects/{body['id']}/repositories", json=repository())
    assert response.status_code == 409


async def test_a_repository_is_replaced_and_keeps_its_masked_token(
    api: httpx.AsyncClient, db: Database, cipher: FieldCipher
) -> None:
    body = await created(api)
    changed = {**body["repositories"][0], "url": "https://git.example.com/shop/new/"}
    response = await api.put(f"/api/repositories/storefront?project_id={body['id']}", json=changed)
    assert response.status_code == 200
    assert response.json()["url"] == "https://git.example.com/shop/new"
    assert await stored_token(db, cipher) == TOKEN


async def test_a_repository_cannot_be_renamed_or_found_without_its_project(api: httpx.AsyncClient) -> None:
    body = await created(api)
    other = repository(repository_id="other")
    renamed = await api.put(f"/api/repositories/storefront?project_id={body['id']}", json=other)
    unknown = await api.put(f"/api/repositories/other?project_id={body['id']}", json=other)
    nowhere = await api.put("/api/repositories/storefront", json=repository())
    assert (renamed.status_code, unknown.status_code, nowhere.status_code) == (400, 404, 400)
    assert nowhere.json()["error"].startswith("project_id: ")


async def test_a_projects_last_repository_stays(api: httpx.AsyncClient) -> None:
    body = await created(api, repositories=[repository(), repository(repository_id="second")])
    first = await api.delete(f"/api/repositories/storefront?project_id={body['id']}")
    last = await api.delete(f"/api/repositories/second?project_id={body['id']}")
    assert (first.status_code, last.status_code) == (204, 409)
    assert [r["repository_id"] for r in (await api.get(f"/api/projects/{body['id']}")).json()["repositories"]] == [
        "second"
    ]


async def test_every_change_is_in_the_audit_log_without_secrets(api: httpx.AsyncClient, db: Database) -> None:
    body = await created(api)
    await api.put(f"/api/projects/{body['id']}", json={**body, "name": "Renamed"})
    await api.delete(f"/api/projects/{body['id']}")
    entries = await db["audit_log"].find({"entity_id": body["id"]}).sort("_id", 1).to_list()
    assert [entry["action"] for entry in entries] == ["project.created", "project.updated", "project.deleted"]
    assert entries[1]["before"]["name"] == "Web shop"
    assert entries[1]["after"]["name"] == "Renamed"
    assert entries[1]["actor"]["name"] == "write"
    assert entries[1]["address"] == "127.0.0.1"
    assert not any(TOKEN.encode() in bson.encode(entry) for entry in entries)


async def test_a_refused_change_leaves_no_trace(api: httpx.AsyncClient, db: Database) -> None:
    await created(api)
    await api.post("/api/projects", json=project())
    assert await db["audit_log"].count_documents({}) == 1


async def test_policies_are_kept_and_what_is_left_out_is_as_the_appliance_has_it(api: httpx.AsyncClient) -> None:
    plain = await created(api)
    assert plain["agent"] == {
        **dict.fromkeys(("tools", "model", "max_turns", "timeout_seconds", "max_cost_usd", "daily_budget_usd"), None),
        "monthly_budget_usd": None,
        "egress_hosts": [],
        "check_command": None,
        "check_timeout_seconds": 600,
        "submodules": False,
        "lfs": False,
    }
    assert plain["pull_requests"] == {"draft": False, "reviewers": [], "follow_up_by": []}
    assert set(plain["ticket"].values()) == {None}
    wanted: dict[str, dict[str, Any]] = {
        "agent": {
            "tools": ["Read", "Bash"],
            "egress_hosts": ["pypi.org", ".example.com"],
            "check_command": "make test",
        },
        "pull_requests": {"draft": True, "follow_up_by": ["kim"]},
        "ticket": {"status_when_completed": "In Review"},
    }
    changed = (await api.put(f"/api/projects/{plain['id']}", json=project(**wanted))).json()
    for name, given in wanted.items():
        assert {field: changed[name][field] for field in given} == given
    assert (await api.get(f"/api/projects/{plain['id']}")).json() == changed


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"agent": {"tools": []}}, "agent.tools"),
        ({"agent": {"tools": ["WebFetch"]}}, "agent.tools.0"),
        ({"agent": {"tools": ["Read", "Read"]}}, "agent.tools"),
        ({"agent": {"max_cost_usd": 0}}, "agent.max_cost_usd"),
        ({"agent": {"egress_hosts": ["https://pypi.org"]}}, "agent.egress_hosts.0"),
        ({"agent": {"max_turns": "5"}}, "agent.max_turns"),
        ({"agent": {"max_cost_usd": True}}, "agent.max_cost_usd"),
        ({"agent": {"lfs": 1}}, "agent.lfs"),
        ({"agent": {"egress_hosts": ["*"]}}, "agent.egress_hosts.0"),
        ({"agent": {"egress_hosts": ["10.0.0.1"]}}, "agent.egress_hosts.0"),
        ({"agent": {"check_command": "a\nb"}}, "agent.check_command"),
        ({"pull_requests": {"reviewers": ["-x"]}}, "pull_requests.reviewers.0"),
        ({"ticket": {"status_when_failed": ""}}, "ticket.status_when_failed"),
        ({"repositories": [repository(forge="svn")]}, "repositories.0.forge"),
    ],
)
async def test_a_policy_that_cannot_be_kept_names_its_field(
    api: httpx.AsyncClient, fields: dict[str, Any], named: str
) -> None:
    response = await api.post("/api/projects", json=project(**fields))
    assert response.status_code == 400
    assert response.json()["error"].startswith(named)


MOVES = ("status_when_started", "status_when_completed", "status_when_failed")


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize(
    ("trigger", "status"), [(None, "in development"), ({"status": "Ready for AI"}, " Ready for AI ")]
)
async def test_a_ticket_is_not_moved_to_what_starts_a_development(
    api: httpx.AsyncClient, name: str, trigger: dict[str, Any] | None, status: str
) -> None:
    refused = await api.post("/api/projects", json=project(trigger=trigger, ticket={name: status}))
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(f"ticket.{name}: ")
    body = await created(api, trigger=trigger, ticket={name: "In Review"})
    changed = project(trigger={"status": "in review"}, ticket={name: "In Review"})
    assert (await api.put(f"/api/projects/{body['id']}", json=changed)).status_code == 400
    assert (await api.get(f"/api/projects/{body['id']}")).json() == body


async def test_with_a_trigger_of_its_own_the_appliances_status_is_one_like_others(api: httpx.AsyncClient) -> None:
    body = await created(api, trigger={"status": "Ready for AI"}, ticket={"status_when_started": "In Development"})
    assert body["ticket"]["status_when_started"] == "In Development"
