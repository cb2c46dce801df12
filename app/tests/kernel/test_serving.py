"""HTTP servers in one loop: TLS, a port that is taken, open requests at the end."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sdlc_agents.kernel.health import HealthApp
from sdlc_agents.kernel.serving import serve
from sdlc_agents.kernel.settings import TlsServerSettings


async def test_with_certificate_and_key_it_is_https(tmp_path: Path) -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    pair.cert_chain_pems[0].write_to_path(certificate)
    pair.private_key_pem.write_to_path(key)
    tls = TlsServerSettings(tls_certificate_file=certificate, tls_private_key_file=key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with (
        serve(HealthApp({}, None), port=0, host="127.0.0.1", tls=tls) as port,
        httpx.AsyncClient(verify=context) as client,
    ):
        assert (await client.get(f"https://127.0.0.1:{port}/health")).status_code == 200


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with serve(HealthApp({}, None), port=0, host="127.0.0.1") as port:
        with pytest.raises(OSError, match="in use"):
            async with serve(HealthApp({}, None), port=port, host="127.0.0.1"):
                pass


async def test_a_certificate_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "tls.crt"
    tls = TlsServerSettings(tls_certificate_file=missing, tls_private_key_file=missing)
    with pytest.raises(FileNotFoundError):
        async with serve(HealthApp({}, None), port=0, host="127.0.0.1", tls=tls):
            pass


async def test_an_open_request_is_answered_before_the_server_ends() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await release.wait()
        return PlainTextResponse("done")

    async with httpx.AsyncClient() as client:
        async with serve(Starlette(routes=[Route("/", slow)]), port=0, host="127.0.0.1") as port:
            request = asyncio.create_task(client.get(f"http://127.0.0.1:{port}/"))
            await entered.wait()
            asyncio.get_running_loop().call_later(0.2, release.set)
        assert (await request).text == "done"
