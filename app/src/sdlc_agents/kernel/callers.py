"""Who makes a request, and what they may do."""

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
