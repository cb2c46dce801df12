"""Telling others how a development ended: queue `develop_error`, the ticket, and a follow-up's pull request.

All are kept as pending in the development's document until done, so a crash or an outage only delays them. A
comment carries a marker by which it is found again, so that it is made once.
"""

from collections.abc import Awaitable, Callable

import aio_pika
import orjson
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import AMQPException

from sdlc_agents import amqp
from sdlc_agents.agent.report import ticket_comment
from sdlc_agents.agent.repository import DevelopmentRepository
from sdlc_agents.clock import now
from sdlc_agents.errors import ServiceError, UnavailableError
from sdlc_agents.mongo import Document
from sdlc_agents.reviews.answers import AnswerRefusedError, Answers
from sdlc_agents.trackers.jira import CommentRefusedError, Jira

_CONFIRM_SECONDS = 10.0
_FAILURES = (AMQPError, AMQPException, OSError, TimeoutError, RuntimeError)
_MESSAGE_FIELDS = ("jira_issue_id", "jira_issue_key", "jira_project_key", "summary", "description")

log = structlog.get_logger()


class ErrorQueue:
    """Publishes to exchange `develop_error`, whose only queue has the same name, confirmed."""

    def __init__(self, open_channel: Callable[[], Awaitable[AbstractChannel]]) -> None:
        self._open = open_channel

    async def publish(self, original_message: object, error: str) -> None:
        """Send `{original_message, error, timestamp}`. Raises `UnavailableError` when the broker does not take it."""
        body = {"original_message": original_message, "error": error, "timestamp": now()}
        message = aio_pika.Message(
            orjson.dumps(body, option=orjson.OPT_UTC_Z),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            type="development.failed",
        )
        try:
            channel = await self._open()
            exchange = await channel.get_exchange(amqp.ERROR_EXCHANGE, ensure=False)
            await exchange.publish(message, amqp.ERROR_QUEUE, mandatory=True, timeout=_CONFIRM_SECONDS)
        except _FAILURES as problem:
            raise UnavailableError(f"develop_error did not take a message: {type(problem).__name__}") from problem


class Notices:
    """Does what is pending."""

    def __init__(
        self,
        developments: DevelopmentRepository,
        errors: ErrorQueue,
        jira: Jira | None,
        answers: Answers | None = None,
    ) -> None:
        self._developments = developments
        self._errors = errors
        self._jira = jira
        self._answers = answers

    async def send(self) -> None:
        """Tell whoever is still to be told; what fails stays pending. Raises `UnavailableError` without a database."""
        for notice, document in await self._developments.pending_notices():
            if not await self._developments.claim_notice(document["_id"], notice):
                continue
            try:
                if notice == "error_queue":
                    await self._to_error_queue(document)
                elif notice == "pull_request":
                    await self._to_pull_request(document)
                elif self._jira is not None:
                    await self._to_ticket(self._jira, document)
            except (CommentRefusedError, AnswerRefusedError) as error:
                log.warning("notice_refused", notice=notice, development_id=document["_id"], error=error.message)
                await self._developments.noticed(document["_id"], notice, "refused")
            except ServiceError as error:
                log.warning("notice_failed", notice=notice, development_id=document["_id"], error=error.message)
                await self._developments.notice_later(document["_id"])
            else:
                await self._developments.noticed(document["_id"], notice, "done")

    async def _to_error_queue(self, document: Document) -> None:
        original = {name: document.get(name) for name in _MESSAGE_FIELDS} | {"development_id": document["_id"]}
        await self._errors.publish(original, document.get("error_message") or "")

    async def _to_ticket(self, jira: Jira, document: Document) -> None:
        marker = f"sdlc-agents {document['_id']} {document['lease']['fence']}"
        await jira.comment_once(document["jira_issue_key"], ticket_comment(document, marker), marker=marker)

    async def _to_pull_request(self, document: Document) -> None:
        if self._answers is not None:
            await self._answers.send(document)
