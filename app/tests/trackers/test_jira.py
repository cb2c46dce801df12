"""Comments on tickets: in the emulator of Data Center, and in the shape that Cloud wants."""

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from sdlc_agents.trackers.jira import CommentRefusedError, Jira, TrackerError
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
