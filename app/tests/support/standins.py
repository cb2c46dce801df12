"""What the stand-ins of GitHub and GitLab share: no such server can be had here.

A stand-in is stricter than the real thing. It refuses what the vendor's description (`support.contracts`) does not
know: methods, paths that are not encoded, parameters, fields, missing headers; its own answers are held against the
same description. What was wrong is in `violations`, which `running` finds empty at the end of a test.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sdlc_agents.kernel.serving import serve
from support.contracts import Contract, ContractError

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class RefusedError(Exception):
    """An answer other than the hoped-for one."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.response = JSONResponse(body, status, headers)


@dataclass
class Asked:
    """One request as it came."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str] = field(repr=False)


@dataclass
class Together:
    """Lets callers go on when as many as `count` are there."""

    count: int = 1
    here: int = 0
    all_here: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        """Return when the last has come."""
        self.here += 1
        if self.here >= self.count:
            self.all_here.set()
        await self.all_here.wait()


class StandIn:
    """A forge at `hosts`; `api` is the path that its API begins with. `faults` answers operations otherwise."""

    vendor: ClassVar[str]

    def __init__(self, hosts: set[str], api: str) -> None:
        self.contract = Contract(self.vendor)
        self.hosts = hosts
        self.api = api
        self.asked: list[Asked] = []
        self.violations: list[str] = []
        self.faults: dict[tuple[str, str], Callable[[], Response]] = {}
        self.opening = Together()
        self.app = Starlette(routes=[Route("/{rest:path}", self._handle, methods=METHODS)])

    def count(self, method: str, ending: str) -> int:
        """How often this was asked for."""
        return sum(1 for asked in self.asked if asked.method == method and asked.path.endswith(ending))

    async def operate(self, asked: Asked, template: str, given: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """Status, document and headers for an operation of the API."""
        raise NotImplementedError

    def admit(self, asked: Asked) -> None:
        """Raise `RefusedError` or `ContractError` for one who may not ask."""
        raise NotImplementedError

    def other(self, asked: Asked) -> Response:
        """What is no API: git."""
        raise NotImplementedError

    async def _handle(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode()
        content = await request.body()
        asked = Asked(
            request.method,
            request.headers["host"],
            raw,
            dict(request.query_params),
            json.loads(content) if content else None,
            dict(request.headers),
        )
        self.asked.append(asked)
        try:
            self._check_address(asked, request.url.query)
            if self.api and not raw.startswith(self.api + "/"):
                return self.other(asked)
            if not self.api and asked.host != min(self.hosts):  # api.…: a host of its own
                return self.other(asked)
            return await self.answer(asked, raw.removeprefix(self.api))
        except ContractError as error:
            self.violations.append(str(error))
            return JSONResponse({"message": str(error)}, 400)

    def _check_address(self, asked: Asked, query: str) -> None:
        if asked.host not in self.hosts:
            raise ContractError(f"{asked.host} is not asked for here")
        secret = asked.headers.get("authorization", "").rpartition(" ")[2]
        if secret and secret in asked.path + query:
            raise ContractError("the token is in an address")

    async def answer(self, asked: Asked, path: str) -> Response:
        """What the API answers."""
        template, given = self.contract.operation(asked.method, path)
        if asked.body is not None and asked.headers.get("content-type") != "application/json":
            raise ContractError("a body must be application/json")
        self.contract.take(asked.method, template, asked.query, asked.body)
        fault = self.faults.get((asked.method, template))
        if fault is not None:
            return fault()
        try:
            self.admit(asked)
            status, document, headers = await self.operate(asked, template, given)
        except RefusedError as refused:
            response = refused.response
            self.contract.answer(
                asked.method, template, response.status_code, json.loads(bytes(response.body).decode())
            )
            return response
        self.contract.answer(asked.method, template, status, document)
        return JSONResponse(document, status, headers)


def bearer(asked: Asked) -> str:
    """The token of a request; one in an address is a violation."""
    scheme, _, token = asked.headers.get("authorization", "").partition(" ")
    if scheme not in {"Bearer", ""}:
        raise ContractError(f"Authorization is {scheme}, not Bearer")
    return token


def basic(asked: Asked) -> tuple[str, str]:
    """User name and password of a request."""
    scheme, _, given = asked.headers.get("authorization", "").partition(" ")
    name, _, password = base64.b64decode(given).decode().partition(":")
    return (name, password) if scheme == "Basic" else ("", "")


def git_refused(status: int) -> Response:
    """What git's HTTP transport hears."""
    headers = {"WWW-Authenticate": 'Basic realm="git"'} if status == 401 else {}
    return PlainTextResponse("no", status, headers)


def page(items: list[Any], query: dict[str, str], usual: int) -> list[Any]:
    """The part of a list that a request asks for."""
    size, number = int(query.get("per_page", usual)), int(query.get("page", "1"))
    return items[(number - 1) * size : number * size]


class _Wire(httpx.AsyncBaseTransport):
    """Carries requests for any https host to one loopback port, over a real connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, its Host as it was."""
        assert request.url.scheme == "https"
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        inner = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return await self._inner.handle_async_request(inner)

    async def aclose(self) -> None:
        """Close connections."""
        await self._inner.aclose()


@asynccontextmanager
async def running(stand_in: StandIn, *, strict: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client that reaches the stand-in as all the world."""
    async with (
        serve(stand_in.app, port=0, host="127.0.0.1", graceful_seconds=1) as port,
        httpx.AsyncClient(transport=_Wire(port), trust_env=False) as client,
    ):
        yield client
    if strict:
        assert stand_in.violations == []
