from __future__ import annotations

import gzip
import socket
from collections.abc import Callable

import pytest

from lab.services.httpserver import Request, Response, Server
from services.client import Client

LIMIT = 1000
Serve = Callable[[Server], Client]


async def _echo(request: Request) -> Response:
    if request.path == "/broken":
        raise RuntimeError("a defect")
    return Response.json({"length": len(request.body), "query": dict(request.query)})


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve(Server(_echo, stand_in="echo", body_limit=LIMIT))


def _raw(client: Client, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        parts = iter(lambda: connection.recv(65536), b"")
        return b"".join(parts)


def test_an_answer_says_that_it_comes_from_a_stand_in(client: Client) -> None:
    answer = client.call("GET", "/x?a=1&a=2")
    assert answer.headers["x-lab-stand-in"] == "echo"
    assert answer.json() == {"length": 0, "query": {"a": ["1", "2"]}}


def test_a_chunked_body_is_put_together(client: Client) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    assert b'"length":7' in _raw(client, head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")


def test_two_requests_use_one_connection(client: Client) -> None:
    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    assert _raw(client, request + request).count(b"HTTP/1.1 200 OK") == 2


def test_a_gzip_body_is_unpacked(client: Client) -> None:
    packed = gzip.compress(b"x" * LIMIT)
    assert client.call("POST", "/", packed, {"content-encoding": "gzip"}).json()["length"] == LIMIT


def test_a_gzip_body_may_not_grow_past_the_limit(client: Client) -> None:
    packed = gzip.compress(b"x" * (LIMIT + 1))
    assert client.call("POST", "/", packed, {"content-encoding": "gzip"}).status == 413


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"x" * 500)[:-4], gzip.compress(b"x") + b"y"])
def test_what_is_not_exactly_one_gzip_stream_is_refused(client: Client, body: bytes) -> None:
    assert client.call("POST", "/", body, {"content-encoding": "gzip"}).status == 400


def test_a_body_over_the_limit_is_refused(client: Client) -> None:
    assert client.call("POST", "/", b"x" * (LIMIT + 1)).status == 413


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", b"501"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
)
def test_an_ambiguous_request_is_refused(client: Client, request_head: bytes, status: bytes) -> None:
    assert _raw(client, request_head).startswith(b"HTTP/1.1 " + status)


def test_a_head_request_gets_no_body(client: Client) -> None:
    answer = _raw(client, b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


def test_a_defect_of_the_handler_is_a_500(client: Client) -> None:
    assert client.call("GET", "/broken").status == 500
