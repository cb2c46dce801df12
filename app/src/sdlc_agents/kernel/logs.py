"""Structured logs: one JSON object a line, of this package and of the libraries alike.

Event names are static, facts are keywords, a request or development id is bound once with `structlog.contextvars`.
Secrets never reach a logger; two processors stand behind that rule in case one does: values under telling names are
replaced, and so are the user and password of an address.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import Processor

from sdlc_agents.kernel.settings import ServiceSettings

EventDict = MutableMapping[str, Any]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_TELLING_NAME = re.compile(r"(password|passwd|secret|token|api_key|authorization|signature|private_key)$")
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
MASK = "[hidden]"


def mask_secrets(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace values under telling names (`…_token`, `password`, …) and credentials inside addresses."""
    for key, value in event.items():
        if value is not None and _is_telling(key):
            event[key] = MASK
        elif isinstance(value, str) and "://" in value:
            event[key] = _USERINFO.sub(MASK + "@", value)
    return event


@lru_cache(maxsize=1024)
def _is_telling(key: str) -> bool:
    return _TELLING_NAME.search(key.lower()) is not None


def _to_json(event: EventDict, **_: object) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z).decode()


def configure_logging(settings: ServiceSettings, service: str, *, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` in the settings' level and format.

    Standard output where none is given; a tool whose standard output is its result gives standard error.
    """
    output = stream if stream is not None else sys.stdout

    def name_service(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    level = _LEVELS[settings.log_level]
    json = settings.log_format == "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        name_service,
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, mask_secrets, structlog.processors.JSONRenderer(_to_json)]
        if json
        else [mask_secrets, structlog.dev.ConsoleRenderer(colors=False)]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    for chatty in ("pymongo", "httpx", "httpcore", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))
    # pika logs every connection that is refused or lost as several errors; whoever holds the connection says it better.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
