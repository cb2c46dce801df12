"""Sends events to the broker: persistent, mandatory, and only done when the broker confirms.

Message: JSON `{jira_issue_id, jira_issue_key, jira_project_key, summary, description, development_id}` to the topic
exchange `webhook.development.request` with key `webhook.development.<PROJECT KEY>`; `message_id` is the development's.
"""

import asyncio
from collections.abc import Sequence

import orjson
import structlog

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.settings import AmqpSettings
from sdlc_agents.webhooks.events import Event

log = structlog.get_logger()


class Publisher:
    """One connection with one confirming channel, opened when needed and again after an outage."""

    def __init__(self, settings: AmqpSettings, *, application: str) -> None:
        self._connection = amqp.Connection(settings, application=application)

    async def connect(self) -> None:
        """Be connected; raises `UnavailableError` when the broker is away or takes nothing. Also what `/ready` asks."""
        (await self._connection.open()).check()

    async def publish(self, events: Sequence[Event]) -> list[Event]:
        """Send events at once; those that the broker has on disk, in their order.

        The others it refused, had no queue for (a returned message counts as refused although it is acknowledged too)
        or did not confirm within `amqp.CONFIRM_SECONDS`. Raises `UnavailableError` when there is no connection.
        """
        channel = self._connection.channel
        try:
            outcomes = await channel.publish([_message(event) for event in events], amqp.CONFIRM_SECONDS)
        except asyncio.CancelledError:
            # What was given up may be on its way: whoever publishes next starts afresh.
            self._connection.give_up()
            raise
        problems = [outcome for outcome in outcomes if outcome is not None]
        if problems:
            log.debug("publish_failed", errors=sorted({problem.message for problem in problems}))
        if channel.blocked is None and any(isinstance(problem, amqp.UnconfirmedError) for problem in problems):
            await self.close()
        return [event for event, outcome in zip(events, outcomes, strict=True) if outcome is None]

    async def close(self) -> None:
        """End the connection; what was not confirmed stays in the outbox."""
        await self._connection.close()


def _message(event: Event) -> amqp.Message:
    delivery = event.delivery
    body = {
        "jira_issue_id": delivery.jira_issue_id,
        "jira_issue_key": delivery.jira_issue_key,
        "jira_project_key": delivery.jira_project_key,
        "summary": delivery.summary,
        "description": delivery.description,
        "development_id": event.development_id,
    }
    return amqp.Message(
        orjson.dumps(body),
        exchange=amqp.EXCHANGE,
        routing_key=amqp.routing_key(delivery.jira_project_key),
        message_id=event.development_id,
        type="development.requested",
        timestamp=event.received_at,
    )
