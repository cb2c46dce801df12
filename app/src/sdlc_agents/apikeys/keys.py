"""A key's scopes, and the caller that a key stands for."""

import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do; each scope holds the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_HOLDS = {
    Scope.READ: frozenset({Scope.READ, Scope.WRITE, Scope.ADMIN}),
    Scope.WRITE: frozenset({Scope.WRITE, Scope.ADMIN}),
    Scope.ADMIN: frozenset({Scope.ADMIN}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the key's id, name and scopes, and the address it came from."""

    key_id: str
    name: str
    scopes: frozenset[Scope]
    address: str

    def may(self, scope: Scope) -> bool:
        """Whether one of the key's scopes reaches this far."""
        return bool(self.scopes & _HOLDS[scope])


def new_key() -> str:
    """A new key: `sdlc_` and 256 random bits."""
    return f"sdlc_{secrets.token_urlsafe(32)}"


def digest(key: str) -> str:
    """What the database keeps of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
