"""API keys: how they are made, and what the database keeps of them."""

import hashlib
import secrets


def new_key() -> str:
    """A new key: `sdlc_` and 256 random bits."""
    return f"sdlc_{secrets.token_urlsafe(32)}"


def digest(key: str) -> str:
    """What the database keeps of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
