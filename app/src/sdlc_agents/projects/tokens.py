"""What is shown of a token."""

MASK = "****"
_SHOWN = 4
_LONG_ENOUGH = 16


def hint(token: str) -> str:
    """The mask, and the last four characters of a token that is long enough to keep the rest a secret."""
    return MASK + (token[-_SHOWN:] if len(token) >= _LONG_ENOUGH else "")


def is_masked(token: str) -> bool:
    """Whether this is what the API shows instead of a token."""
    return token.startswith(MASK)
