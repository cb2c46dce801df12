"""Text of agents and repositories, without effects beyond the text."""

_ZERO_WIDTH = "\u200b"


def harmless(text: str) -> str:
    """Without effects beyond the text: no mention notifies anyone."""
    return text.replace("@", f"@{_ZERO_WIDTH}")
