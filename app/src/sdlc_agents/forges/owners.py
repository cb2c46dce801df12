"""Whose a token is. Every look at a pull request needs to know, so it is kept for an hour."""

import hashlib
import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import httpx

from sdlc_agents.forges.calls import Api

_SECONDS = 3600.0
_KEPT = 1000


@dataclass(frozen=True)
class _Owner:
    name: str
    until: float


_owners: WeakKeyDictionary[httpx.AsyncClient, dict[tuple[str, str], _Owner]] = WeakKeyDictionary()
"""By the API and the token's hash: a process has one client for all forges."""


async def token_owner(api: Api, field: str) -> str:
    """The user name of the token's owner, as `field` of `/user` tells it."""
    known = _owners.setdefault(api.client, {})
    key = (api.url, hashlib.sha256(api.headers["Authorization"].encode()).hexdigest())
    owner = known.pop(key, None)
    if owner is None or owner.until < time.monotonic():
        shown = (await api.call("GET", "/user", accept={200})).json()
        owner = _Owner(str(shown[field]), time.monotonic() + _SECONDS)
    known[key] = owner
    if len(known) > _KEPT:
        del known[next(iter(known))]
    return owner.name
