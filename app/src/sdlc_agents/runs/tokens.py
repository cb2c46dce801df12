"""How the tokens of a job are kept: as their digest alone, by which the gateway finds the job."""

import hashlib


def digest(token: str) -> str:
    """SHA-256 in hexadecimal; a job's token is random and long, so it needs no salt."""
    return hashlib.sha256(token.encode()).hexdigest()
