"""Filters of role rabbitmq."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable


def rabbitmq_password_hash(password: str, salt_key: str, user: str) -> str:
    """A password as RabbitMQ stores it: base64(salt + SHA-256(salt + password)).

    The salt has the 32 bits that the format allows. It comes from a keyed hash instead of
    chance, so that the same inventory always gives the same definitions and a second run
    changes nothing; a changed password changes its salt too.

    See https://www.rabbitmq.com/docs/passwords#computing-password-hash.
    """
    seed = hmac.digest(salt_key.encode(), f"{user}\0{password}".encode(), "sha256")
    salt = seed[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Name the filters."""
        return {"rabbitmq_password_hash": rabbitmq_password_hash}
