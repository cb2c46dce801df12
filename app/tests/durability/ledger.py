"""What a load of deliveries was told, and what became of it."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import orjson
from pydantic import SecretStr

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.kernel.settings import AmqpSettings
from support.queues import Queue


@dataclass
class Ledger:
    """Which deliveries were sent, and the answers: 200, an error, or none at all."""

    sent: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)

    def note(self, delivery_id: str, status: int) -> bool:
        """Keep an answer; status 0 is none. Whether it was 200."""
        self.sent.add(delivery_id)
        if status == 200:
            self.accepted.add(delivery_id)
            return True
        self.refused["no answer" if status == 0 else str(status)] += 1
        return False


@dataclass(frozen=True)
class Report:
    """What was found afterwards; `half_stored` names what is in one place and not in another."""

    sent: int
    accepted: int
    stored: int
    published: int
    lost: int
    twice: int
    half_stored: list[str]
    refused: dict[str, int]

    def __str__(self) -> str:
        answers = ", ".join(f"{number} times {answer}" for answer, number in sorted(self.refused.items()))
        return (
            f"accepted {self.accepted}, stored {self.stored}, published {self.published}, lost {self.lost} "
            f"(of {self.sent} deliveries; refused: {answers or 'none'}; messages sent twice: {self.twice})"
        )


async def settle(ledger: Ledger, db: Database, rabbitmq_url: str) -> Report:
    """Compare what was answered with the database and the queue, which is emptied."""
    events = {event["delivery_id"]: event async for event in db["webhook_events"].find()}
    stored = await db["webhook_events"].count_documents({})
    developments = {document["_id"] async for document in db["developments"].find({"status": "queued"}, {"_id": 1})}
    messages = await _messages(rabbitmq_url)
    wanted = {event["development_id"] for event in events.values()}
    half_stored = [
        *(f"{key}: not published" for key, event in events.items() if event["state"] != "published"),
        *(f"{key}: another's payload" for key, event in events.items() if key not in event["raw_payload"]),
        *(f"{key}: never sent" for key in events.keys() - ledger.sent),
        *([f"{stored - len(events)} events too many"] if stored != len(events) else []),
        *(f"{key}: no development" for key in wanted - developments),
        *(f"{key}: no event" for key in (developments | messages.keys()) - wanted),
    ]
    published = wanted & messages.keys()
    unpublished = {key for key, event in events.items() if event["development_id"] not in published}
    lost = (ledger.accepted - events.keys()) | unpublished
    return Report(
        sent=len(ledger.sent),
        accepted=len(ledger.accepted),
        stored=len(events),
        published=len(published),
        lost=len(lost),
        twice=messages.total() - len(messages),
        half_stored=half_stored,
        refused=dict(ledger.refused),
    )


async def _messages(rabbitmq_url: str) -> Counter[str]:
    """How often each development's message is in the queue."""
    found: Counter[str] = Counter()
    settings = AmqpSettings(rabbitmq_url=SecretStr(rabbitmq_url))
    connection = amqp.Connection(settings, application="tests", prefetch=500)
    channel = await connection.open()
    left = await Queue(channel, amqp.QUEUE).count()
    async with channel.consume(amqp.QUEUE) as messages:
        for _ in range(left):
            async with asyncio.timeout(30):
                message = await messages.next()
            found[orjson.loads(message.body)["development_id"]] += 1
            message.ack()
    await connection.close()
    return found
