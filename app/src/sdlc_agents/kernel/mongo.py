"""The connection to MongoDB: a replica set, always with majority and journaled writes."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession as Session
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    ConnectionFailure,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.settings import MongoSettings

Document = dict[str, Any]
Client = AsyncMongoClient[Document]
Database = AsyncDatabase[Document]
MongoError = PyMongoError
"""What the driver raises, for those who only have to survive it."""
Result = TypeVar("Result")

__all__ = [
    "DUPLICATE_KEY",
    "Client",
    "Database",
    "Document",
    "MongoError",
    "Session",
    "connect",
    "database",
    "in_transaction",
    "is_outage",
    "ping",
    "translate_errors",
]

DUPLICATE_KEY = 11000
"""The code of MongoDB's error where a unique index has the value already."""

SERVER_SELECTION_SECONDS = 3
OPERATION_SECONDS = 10
_LABEL_OF_TRANSACTION = "TransientTransactionError"
_LABELS_OF_OUTAGE = (
    "RetryableWriteError",
    _LABEL_OF_TRANSACTION,
    "NetworkError",
    "ResumableChangeStreamError",
)


def connect(settings: MongoSettings, *, application: str, **options: Any) -> Client:
    """A client for the settings' URL; it connects when first used, so a database that is away stops no start.

    Every operation ends within `OPERATION_SECONDS` (pymongo's client-side operation timeout), choosing a server
    included; `SERVER_SELECTION_SECONDS` counts only for what has no such timeout. `options` go to `AsyncMongoClient`
    and override what stands here.
    """
    arguments: dict[str, Any] = {
        "appname": application,
        "tz_aware": True,
        "w": "majority",
        "journal": True,
        "retryWrites": True,
        "readConcernLevel": "majority",
        "serverSelectionTimeoutMS": SERVER_SELECTION_SECONDS * 1000,
        "connectTimeoutMS": SERVER_SELECTION_SECONDS * 1000,
        "timeoutMS": OPERATION_SECONDS * 1000,
        "maxPoolSize": 32,
    }
    if settings.mongo_tls_ca_file is not None:
        arguments["tlsCAFile"] = str(settings.mongo_tls_ca_file)
    return AsyncMongoClient(settings.mongo_url.get_secret_value(), **(arguments | options))


def database(client: Client, settings: MongoSettings) -> Database:
    """The appliance's database."""
    return client[settings.mongo_database]


async def ping(db: Database) -> None:
    """Raise unless a primary answers: what `/ready` asks."""
    with translate_errors():
        hello: Mapping[str, Any] = await db.client.admin.command("hello")
    if not hello.get("isWritablePrimary"):
        raise UnavailableError("the database has no primary")


def is_outage(error: BaseException) -> bool:
    """Whether the error says that the database is away or slow, so that trying again later may help."""
    if isinstance(error, ConnectionFailure | NotPrimaryError | ExecutionTimeout | WriteConcernError):
        return True
    if isinstance(error, PyMongoError):
        if error.timeout or any(error.has_error_label(label) for label in _LABELS_OF_OUTAGE):
            return True
        # A replica set that loses its majority or starts up answers in these words (InterruptedAtShutdown, …).
        return isinstance(error, OperationFailure) and error.code in {
            91,
            189,
            11600,
            11602,
            10107,
            13435,
            13436,
        }
    return False


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn pymongo's errors of an outage into `UnavailableError`; others pass as they are.

    So does an error after which its transaction is to be run again: `in_transaction` sees to that.
    """
    try:
        yield
    except PyMongoError as error:
        if is_outage(error) and not error.has_error_label(_LABEL_OF_TRANSACTION):
            raise UnavailableError("the database is not available") from error
        raise


async def in_transaction(db: Database, work: Callable[[Session], Awaitable[Result]]) -> Result:
    """Do `work` in one transaction; it is run again when another one was in the way, for `OPERATION_SECONDS` in all.

    Raises `UnavailableError` when the database is away, and whatever `work` raises (nothing is written then).
    """
    try:
        with pymongo.timeout(OPERATION_SECONDS):
            async with db.client.start_session() as session:
                return await session.with_transaction(work)
    except PyMongoError as error:
        if is_outage(error):
            raise UnavailableError("the database is not available") from error
        raise
