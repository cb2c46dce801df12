"""Comments on tickets: in the emulator of Data Center, and in the shape that Cloud wants."""

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from sdlc_agents.trackers.jira import CommentRefusedError, Jira, MoveRefusedError, TrackerError
from support.lab import JIRA_TOKEN
from support.processes import free_port


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def ticket(http: httpx.AsyncClient, url: str) -> str:
    fields = {"project": {"key": "SHOP"}, "issuetype": {"name": "Story"}, "summary": "Better"}
    response = await http.post(
        f"{url}/rest/api/2/issue", json={"fields": fields}, headers={"Authorization": f"Bearer {JIRA_TOKEN}"}
    )
    return str(response.json()["key"])


async def comments(http: httpx.AsyncClient, url: str, key: str) -> list[str]:
    response = await http.get(
        f"{url}/rest/api/2/issue/{key}/comment", headers={"Authorization": f"Bearer {JIRA_TOKEN}"}
    )
    return [comment["body"] for comment in response.json()["comments"]]


async def test_a_comment_is_found_again_by_its_marker(http: httpx.AsyncClient, jira_url: str) -> None:
    key = await ticket(http, jira_url)
    jira = Jira(jira_url + "/", SecretStr(JIRA_TOKEN), None, http)
    assert not await jira.commented(key, "mark-1")
    await jira.comment(key, "It is done.\nmark-1")
    assert await jira.commented(key, "mark-1")
    assert not await jira.commented(key, "mark-2")
    assert await comments(http, jira_url, key) == ["It is done.\nmark-1"]


async def test_a_wrong_token_is_named(http: httpx.AsyncClient, jira_url: str) -> None:
    jira = Jira(jira_url, SecretStr("wrong-token"), None, http)
    with pytest.raises(TrackerError, match="JIRA_API_TOKEN is not valid") as caught:
        await jira.commented("SHOP-1", "x")
    assert "wrong-token" not in caught.value.message
    assert not isinstance(caught.value, CommentRefusedError), "an operator can mend this"


async def test_an_unknown_ticket_is_an_error(http: httpx.AsyncClient, jira_url: str) -> None:
    jira = Jira(jira_url, SecretStr(JIRA_TOKEN), None, http)
    with pytest.raises(CommentRefusedError, match="404"):
        await jira.comment("SHOP-99", "x")


async def test_a_jira_that_is_away_is_an_error(http: httpx.AsyncClient) -> None:
    jira = Jira(f"http://127.0.0.1:{free_port()}", SecretStr(JIRA_TOKEN), None, http)
    with pytest.raises(TrackerError, match="does not answer"):
        await jira.commented("SHOP-1", "x")


async def test_cloud_gets_the_user_and_the_token(http: httpx.AsyncClient) -> None:
    heads: list[bytes] = []

    async def cloud(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        answer = b'{"comments": []}'
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cloud, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        jira = Jira(url, SecretStr("token"), "bot@example.test", http)
        await jira.commented("SHOP-1", "x")
        await jira.comment("SHOP-1", "x")
    expected = b"authorization: basic " + base64.b64encode(b"bot@example.test:token").lower()
    assert [expected in head.lower() for head in heads] == [True, True]


def test_people_read_the_ticket_under_browse() -> None:
    jira = Jira("https://jira.example/", SecretStr("t"), None, httpx.AsyncClient())
    assert jira.browse_url("SHOP-1") == "https://jira.example/browse/SHOP-1"


async def status(http: httpx.AsyncClient, url: str, key: str) -> str:
    headers = {"Authorization": f"Bearer {JIRA_TOKEN}"}
    answer = await http.get(f"{url}/rest/api/2/issue/{key}", headers=headers)
    return str(answer.json()["fields"]["status"]["name"])


async def moves(http: httpx.AsyncClient, url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {JIRA_TOKEN}"}
    answer = await http.get(f"{url}/rest/api/2/issue/{key}", params={"expand": "changelog"}, headers=headers)
    return len(answer.json()["changelog"]["histories"])


async def test_a_ticket_is_moved_to_the_status_of_a_name_in_whatever_case(
    http: httpx.AsyncClient, jira_url: str
) -> None:
    key = await ticket(http, jira_url)
    jira = Jira(jira_url, SecretStr(JIRA_TOKEN), None, http)
    await jira.move(key, "in review")
    assert await status(http, jira_url, key) == "In Review"
    before = await moves(http, jira_url, key)
    await jira.move(key, "In Review")
    assert await moves(http, jira_url, key) == before, "it was there already"


async def test_a_status_that_the_workflow_does_not_offer_is_named_with_what_to_do(
    http: httpx.AsyncClient, jira_url: str
) -> None:
    key = await ticket(http, jira_url)
    jira = Jira(jira_url, SecretStr(JIRA_TOKEN), None, http)
    with pytest.raises(MoveRefusedError, match='no transition from "To Do" to "Deployed"'):
        await jira.move(key, "Deployed")
    assert await status(http, jira_url, key) == "To Do"


def answering(posted: httpx.Response) -> httpx.AsyncClient:
    """A Jira that offers a transition and answers so when it is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return posted
        if request.url.path.endswith("/transitions"):
            return httpx.Response(200, json={"transitions": [{"id": "31", "to": {"name": "Done"}}]})
        return httpx.Response(200, json={"fields": {"status": {"name": "To Do"}}})

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


@pytest.mark.parametrize("code", [400, 403, 404, 409])
async def test_a_transition_that_jira_refuses_is_told_in_its_words(code: int) -> None:
    body = {"errorMessages": [], "errors": {"resolution": "Resolution is required."}}
    async with answering(httpx.Response(code, json=body)) as client:
        jira = Jira("https://jira.example", SecretStr("t"), None, client)
        with pytest.raises(MoveRefusedError, match='refused the transition from "To Do" to "Done"') as caught:
            await jira.move("SHOP-1", "Done")
    assert "no field" in caught.value.message
    assert ("resolution: Resolution is required." in caught.value.message) == (code in {400, 409})


@pytest.mark.parametrize("code", [401, 429, 500, 502, 503])
async def test_a_jira_that_cannot_answer_now_is_to_be_asked_again(code: int) -> None:
    async with answering(httpx.Response(code, headers={"Retry-After": "40"})) as client:
        jira = Jira("https://jira.example", SecretStr("t"), None, client)
        for call in (jira.move("SHOP-1", "Done"), jira.comment("SHOP-1", "x")):
            with pytest.raises(TrackerError) as caught:
                await call
            assert not isinstance(caught.value, CommentRefusedError)
            assert caught.value.retry_after == 40


async def test_an_answer_that_is_no_json_is_an_error() -> None:
    async with answering(httpx.Response(200, text="<html>Log in</html>")) as client:
        with pytest.raises(TrackerError, match="not JSON"):
            await Jira("https://jira.example", SecretStr("t"), None, client).comment("SHOP-1", "x")
