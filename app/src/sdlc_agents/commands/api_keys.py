"""`sdlc-agents api-keys create|list|revoke`: the keys, for an operator on the host.

Runs in the container of configuration-api, with its settings:
`docker exec configuration-api sdlc-agents api-keys create --name ci --scope read`.
Standard output carries the result alone, so that it may be piped: of `create` the key and nothing else, of `list` one
JSON object a line. What was done is logged to standard error. Ends with 1 when it cannot be done, 64 (EX_USAGE) when it
is asked for something that does not exist.
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

import structlog
from pydantic import ValidationError

from sdlc_agents.apikeys.schemas import ApiKeyInput
from sdlc_agents.apikeys.service import ApiKeyService
from sdlc_agents.kernel import mongo, web
from sdlc_agents.kernel.callers import Caller, Scope
from sdlc_agents.kernel.errors import InvalidRequestError, ServiceError
from sdlc_agents.kernel.logs import configure_logging
from sdlc_agents.kernel.settings import MongoSettings, load_settings
from sdlc_agents.migrations import schema

NAME = "api-keys"
EX_USAGE = 64
_PAGE = 200

log = structlog.get_logger()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def run(arguments: Sequence[str]) -> None:
    """Do what is asked for, and end."""
    given = _parser().parse_args(arguments)
    settings = load_settings(MongoSettings)
    configure_logging(settings, NAME, stream=sys.stderr)
    try:
        asyncio.run(_do(given, settings))
    except ServiceError as error:
        print(f"sdlc-agents {NAME}: {error.message}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None


async def _do(given: argparse.Namespace, settings: MongoSettings) -> None:
    async with mongo.connect(settings, application=NAME) as client:
        db = mongo.database(client, settings)
        await schema.check(db)
        service = ApiKeyService(db)
        if given.command == "create":
            print((await service.create(_input(given), operator())).key)  # noqa: T201
        elif given.command == "list":
            await _list(service)
        else:
            await service.revoke(given.id, operator())


async def _list(service: ApiKeyService) -> None:
    cursor: str | None = None
    while True:
        page = await service.page(_PAGE, cursor)
        for key in page.items:
            print(key.model_dump_json())  # noqa: T201
        cursor = page.next_cursor
        if cursor is None:
            return


def operator() -> Caller:
    """Who the audit log names for what is done on the host rather than through the API."""
    return Caller("operator", f"operator at {socket.gethostname()}", frozenset(Scope), "")


def _input(given: argparse.Namespace) -> ApiKeyInput:
    try:
        return ApiKeyInput(name=given.name, scopes=given.scope, expires_at=given.expires_at)
    except ValidationError as error:
        raise InvalidRequestError(web.describe(error.errors())) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=f"sdlc-agents {NAME}", description="Keys of the configuration API.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it, this one time")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument(
        "--scope", required=True, action="append", choices=[scope.value for scope in Scope], help="what it may do"
    )
    create.add_argument("--expires-at", metavar="TIME", help="until when, as in 2026-12-31T00:00:00Z; for ever without")
    commands.add_parser("list", help="print every key's name, scopes and dates, one JSON object a line")
    revoke = commands.add_parser("revoke", help="end a key")
    revoke.add_argument("id", help="the key's id, as list shows it")
    return parser
