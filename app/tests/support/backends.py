"""The real services that tests use, and what reaches them."""

import base64
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from sdlc_agents.kernel import amqp
from sdlc_agents.kernel.settings import AmqpSettings, EncryptionSettings, MongoSettings, ServiceSettings
from support.queues import Queue, Received

AMQP_NAMES = ("EXCHANGE", "QUEUE", "ERROR_EXCHANGE", "ERROR_QUEUE")
"""What `sdlc_agents.kernel.amqp` calls things, and each test otherwise."""

FIELD_ENCRYPTION_KEY = base64.b64encode(bytes(range(96))).decode()
"""The master key of the tests, which guards nothing."""

Settings = TypeVar("Settings", bound=ServiceSettings)


class MakeSettings(Protocol):
    """`make_settings(SettingsClass, field=value, …)`: settings for the test's services, any of them replaced."""

    def __call__(self, cls: type[Settings], /, **given: Any) -> Settings:
        """The settings."""


@dataclass(frozen=True)
class Backends:
    """Where the services that the tests use are."""

    mongo_url: str
    mongo_tls_ca_file: str | None
    rabbitmq_url: str
    rabbitmq_tls_ca_file: str | None

    @property
    def hosts(self) -> list[str]:
        """Their host names."""
        return [urlsplit(url).hostname or "" for url in (self.mongo_url, self.rabbitmq_url)]


class EveryService(MongoSettings, AmqpSettings, EncryptionSettings):
    """The settings that tests use themselves."""


@dataclass(frozen=True)
class Broker:
    """The exchange and queues of one test, under names of its own, set up as the rabbitmq role does."""

    connection: amqp.Connection
    develop: Queue
    develop_error: Queue

    @property
    def channel(self) -> amqp.Channel:
        """The connection's."""
        return self.connection.channel

    async def next_message(self, queue: Queue | None = None, seconds: float = 10.0) -> Received:
        """Take the next message; fails when none comes in time."""
        return await (queue or self.develop).next_message(seconds)
