"""Text of agents and repositories, without effects beyond the text."""

ZERO_WIDTH = "\u200b"
"""A space that nobody sees: what stands on both sides of it is no longer one word."""


def harmless(text: str) -> str:
    """Without effects beyond the text: no mention notifies anyone."""
    return text.replace("@", f"@{ZERO_WIDTH}")
