"""POST /webhook, over HTTP and with everything behind it real."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks import bodies
from sdlc_agents.webhooks.signature import sign
from support.backends import Broker
from support.deliveries import fixture, ticket
from support.proxy import CuttableProxy
from support.webhook_service import PREVIOUS, SECRET, Service, StartService


async def stored(db: Database) -> int:
    return await db["webhook_events"].count_documents({})


async def test_a_trigger_is_stored_before_it_is_accepted(service: Service, db: Database, project_key: str) -> None:
    payload = ticket(project_key, 7)
    response = await service.deliver(payload, X_Atlassian_Webhook_Identifier="delivery-1")
    assert (response.status_code, response.json()["status"]) == (200, "accepted")
    event = await db["webhook_events"].find_one({"delivery_id": "delivery-1"})
    assert event is not None
    assert event["jira_issue_key"] == f"{project_key}-7"
    assert event["jira_project_key"] == project_key
    assert event["previous_status"] == "Selected for Development"
    assert orjson.loads(event["raw_payload"]) == payload


async def test_an_accepted_ticket_reaches_the_queue_as_a_queued_development(
    service: Service, db: Database, broker: Broker, project_key: str
) -> None:
    await service.deliver(ticket(project_key, 8))
    message = await broker.next_message()
    body = orjson.loads(message.body)
    assert message.routing_key == f"webhook.development.{project_key}"
    assert message.properties.delivery_mode == 2
    assert body["jira_issue_key"] == f"{project_key}-8"
    assert body["summary"] == "Total is wrong for more than 9 items"
    development = await db["developments"].find_one({"_id": body["development_id"]})
    assert development is not None
    assert development["status"] == "queued"
    assert development["components"] == [
        {"name": "storefront", "description": "https://git.example.com/shop/storefront"}
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature": "sha256=" + "0" * 64},
        {"X-Hub-Signature": "nonsense"},
        {"X-Hub-Signature": sign(orjson.dumps({}), SECRET)},
        {"X-Hub-Signature": sign(orjson.dumps(fixture("cloud_issue_updated")), b"another secret")},
    ],
)
async def test_a_wrong_or_missing_signature_stores_nothing(
    service: Service, db: Database, headers: dict[str, str]
) -> None:
    response = await service.http.post("/webhook", json=fixture("cloud_issue_updated"), headers=headers)
    assert response.status_code == 401
    assert set(response.json()) == {"error"}
    assert await stored(db) == 0


async def test_the_previous_secret_still_counts(service: Service, project_key: str) -> None:
    response = await service.deliver(ticket(project_key), secret=PREVIOUS)
    assert response.json()["status"] == "accepted"


async def test_an_event_that_is_no_trigger_is_ignored_and_not_stored(service: Service, db: Database) -> None:
    response = await service.deliver(fixture("cloud_comment_created"))
    assert (response.status_code, response.json()["status"]) == (200, "ignored")
    assert await stored(db) == 0


async def test_the_same_delivery_again_is_a_duplicate(service: Service, db: Database, project_key: str) -> None:
    first = ticket(project_key)
    assert (await service.deliver(first, X_Atlassian_Webhook_Identifier="d")).json()["status"] == "accepted"
    again = await service.deliver(first, X_Atlassian_Webhook_Identifier="d")
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert await stored(db) == 1


async def test_without_an_identifier_the_body_tells_a_duplicate(
    service: Service, db: Database, project_key: str
) -> None:
    assert (await service.deliver(ticket(project_key, 1))).json()["status"] == "accepted"
    assert (await service.deliver(ticket(project_key, 1))).json()["status"] == "duplicate"
    assert (await service.deliver(ticket(project_key, 2))).json()["status"] == "accepted"
    assert await stored(db) == 2


async def test_the_same_delivery_many_times_at_once_is_stored_once(
    service: Service, db: Database, project_key: str
) -> None:
    answers = await asyncio.gather(*(service.deliver(ticket(project_key)) for _ in range(20)))
    assert sorted(answer.json()["status"] for answer in answers) == ["accepted"] + ["duplicate"] * 19
    assert await stored(db) == 1


@pytest.mark.parametrize(("body", "error"), [(b"{", "not valid JSON"), (b"[]", "not a JSON object")])
async def test_broken_json_is_a_bad_request(service: Service, db: Database, body: bytes, error: str) -> None:
    response = await service.deliver(body)
    assert response.status_code == 400
    assert error in response.json()["error"]
    assert await stored(db) == 0


async def test_a_wrong_field_is_named(service: Service, db: Database) -> None:
    payload = fixture("cloud_issue_updated")
    payload["issue"]["key"] = {"$ne": None}
    response = await service.deliver(payload)
    assert response.status_code == 400
    assert response.json()["error"].startswith("issue.key: ")
    assert await stored(db) == 0


async def test_a_body_of_one_mebibyte_is_read(service: Service, project_key: str) -> None:
    payload = ticket(project_key)
    payload["padding"] = ""
    payload["padding"] = "x" * (bodies.MAX_BODY_BYTES - len(orjson.dumps(payload)))
    assert (await service.deliver(payload)).json()["status"] == "accepted"


async def test_a_larger_body_is_too_large(service: Service, db: Database) -> None:
    response = await service.deliver(b" " * (bodies.MAX_BODY_BYTES + 1))
    assert (response.status_code, set(response.json())) == (413, {"error"})
    assert await stored(db) == 0


async def test_a_larger_body_in_chunks_is_too_large(service: Service) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    response = await service.http.post("/webhook", content=chunks(), headers={"X-Hub-Signature": "sha256=" + "0" * 64})
    assert response.status_code == 413


async def test_a_body_that_does_not_arrive_is_a_timeout(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection(service.http.base_url.host, service.http.base_url.port)
    writer.write(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    answer = await reader.readuntil(b"\r\n")
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_database_that_is_away_is_said_with_when_to_come_back(
    mongo_proxy: CuttableProxy, start_service: StartService, db: Database, project_key: str
) -> None:
    service = await start_service(mongo_url=mongo_proxy.url)
    await mongo_proxy.cut()
    response = await service.deliver(ticket(project_key))
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    await mongo_proxy.mend()
    again = await service.deliver(ticket(project_key))
    assert (again.status_code, again.json()["status"]) == (200, "accepted")
    assert await stored(db) == 1


async def test_other_methods_and_paths_have_errors_of_the_same_form(service: Service) -> None:
    wrong_method = await service.http.get("/webhook")
    wrong_path = await service.http.post("/nowhere")
    assert (wrong_method.status_code, wrong_method.json()) == (405, {"error": "method not allowed"})
    assert (wrong_path.status_code, wrong_path.json()) == (404, {"error": "not found"})


async def test_requests_are_counted_by_their_routes_template(service: Service) -> None:
    await service.http.post("/webhook", content=b"{}")
    await service.http.get("/some/path/17")
    assert service.metric("http_requests_total", method="POST", endpoint="/webhook", status="401") == 1
    assert service.metric("http_requests_total", method="GET", endpoint="unmatched", status="404") == 1
    assert service.metric("http_request_duration_seconds_count", method="POST", endpoint="/webhook") == 1
    assert service.metric("sdlc_webhook_deliveries_total", result="unauthorized") == 1


async def test_a_requests_id_comes_back(service: Service) -> None:
    own = await service.http.get("/health", headers={"X-Request-ID": "from-nginx-0001"})
    odd = await service.http.get("/health", headers={"X-Request-ID": "a b"})
    assert own.headers["X-Request-ID"] == "from-nginx-0001"
    assert len(odd.headers["X-Request-ID"]) == 32


async def test_a_client_that_goes_away_leaves_the_service_well(service: Service, project_key: str) -> None:
    _, writer = await asyncio.open_connection(service.http.base_url.host, service.http.base_url.port)
    writer.write(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await service.deliver(ticket(project_key))).status_code == 200


async def test_ready_asks_database_schema_triggers_and_broker(service: Service) -> None:
    assert set(service.checks) == {"database", "schema", "triggers", "broker"}
    for check in service.checks.values():
        await check()


async def test_http_clients_of_many_kinds_get_the_same_answer(service: Service, project_key: str) -> None:
    body = orjson.dumps(ticket(project_key))
    headers = {"x-hub-signature": sign(body, SECRET), "content-type": "text/plain"}
    async with httpx.AsyncClient(base_url=service.http.base_url) as other:
        assert (await other.post("/webhook", content=body, headers=headers)).json()["status"] == "accepted"
