"""The relay between a job's tools and the egress proxy."""

import asyncio
from urllib.parse import urlsplit

import pytest

from runner.proxy import recording_proxy
from sdlc_agents.runner.egress import egress_relay
from support.processes import free_port
from support.waiting import until

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(url: str | None, request: str) -> Connection:
    """A connection to the relay on which this was sent."""
    assert url is not None
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request.encode())
    return reader, writer


async def head(reader: asyncio.StreamReader) -> str:
    """The head of the answer."""
    return (await reader.readuntil(b"\r\n\r\n")).decode()


async def test_a_tunnel_carries_both_ways_whatever_its_size() -> None:
    sent = bytes(range(256)) * 16384
    async with recording_proxy() as proxy, egress_relay(proxy.url, "job", "token") as url:
        reader, writer = await connect(url, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n")
        assert (await head(reader)).startswith("HTTP/1.1 200 ")
        back = asyncio.create_task(reader.readexactly(len(sent)))
        writer.write(sent)
        await writer.drain()
        assert await back == sent
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert [(entry.line, entry.user) for entry in proxy.asked] == [("CONNECT a.example:443 HTTP/1.1", "job:token")]


async def test_credentials_of_a_tools_own_do_not_count_and_a_plain_request_is_one_a_connection() -> None:
    request = (
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\nPROXY-authorization: Basic bWU6bWU=\r\n"
        "Connection: keep-alive\r\nProxy-Connection: keep-alive\r\nX-Kept: yes\r\n\r\n"
    )
    async with recording_proxy() as proxy, egress_relay(proxy.url, "job", "token") as url:
        reader, writer = await connect(url, request)
        assert (await head(reader)).startswith("HTTP/1.1 204 ")
        assert await reader.read() == b""
        writer.close()
    (entry,) = proxy.asked
    assert entry.user == "job:token"
    assert entry.headers[:2] == ("Host: a.example", "X-Kept: yes")
    assert entry.headers[-1] == "Connection: close"
    assert len(entry.headers) == 4


async def test_a_proxy_that_is_away_is_said_to_be() -> None:
    async with egress_relay(f"http://127.0.0.1:{free_port()}", "job", "token") as url:
        reader, writer = await connect(url, "CONNECT a.example:443 HTTP/1.1\r\n\r\n")
        assert (await head(reader)).startswith("HTTP/1.1 502 ")
        assert await reader.read() == b""
        writer.close()


async def test_what_is_no_request_is_cut_off_and_the_next_one_is_served() -> None:
    async with recording_proxy() as proxy, egress_relay(proxy.url, "job", "token") as url:
        reader, writer = await connect(url, "x" * 200_000)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()
        reader, writer = await connect(url, "CONNECT a.example:443 HTTP/1.1\r\n\r\n")
        assert (await head(reader)).startswith("HTTP/1.1 200 ")
        writer.close()
    assert len(proxy.asked) == 1


async def test_more_connections_than_a_job_needs_are_refused_and_closing_them_makes_room() -> None:
    tunnel = "CONNECT a.example:443 HTTP/1.1\r\n\r\n"
    async with recording_proxy() as proxy, egress_relay(proxy.url, "job", "token") as url:
        opened = [await connect(url, tunnel) for _ in range(200)]
        for reader, _ in opened:
            await head(reader)
        reader, writer = await connect(url, tunnel)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await head(reader)
        writer.close()
        for _, writer in opened:
            writer.close()

        async def served() -> bool:
            reader, writer = await connect(url, tunnel)
            try:
                return "200" in await head(reader)
            except (ConnectionError, asyncio.IncompleteReadError):
                return False
            finally:
                writer.close()

        await until(served)


async def test_with_the_job_its_connections_end_and_its_address_is_nobodys() -> None:
    async with recording_proxy() as proxy:
        async with egress_relay(proxy.url, "job", "token") as url:
            reader, writer = await connect(url, "CONNECT a.example:443 HTTP/1.1\r\n\r\n")
            await head(reader)
            silent_reader, silent_writer = await connect(url, "CONNECT")
        for end in (reader, silent_reader):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await end.readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await connect(url, "")
        writer.close()
        silent_writer.close()


@pytest.mark.parametrize(("proxy", "token"), [("http://127.0.0.1:9", None), (None, "token"), (None, None)])
async def test_without_a_token_or_a_proxy_there_is_no_relay(proxy: str | None, token: str | None) -> None:
    async with egress_relay(proxy, "job", token) as url:
        assert url == proxy
