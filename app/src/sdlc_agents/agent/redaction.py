"""Taking secrets out of text that others will read."""

from collections.abc import Iterable

_MASK = "[hidden]"
_SHORTEST = 6


class Redactor:
    """Replaces the given secrets wherever they stand."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text
