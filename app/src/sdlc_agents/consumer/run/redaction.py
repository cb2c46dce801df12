"""Taking secrets out of text that others will read: those that are known, and what has the shape of one."""

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from sdlc_agents.kernel.settings import ServiceSettings

_MASK = "[hidden]"
_SHORTEST = 6
# Without its end, a key ends where the text does.
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[\s\S]*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_LOGIN_IN_ADDRESS = r"(?<=://)[^\s/:@\"']{0,100}:[^\s/@\"']{1,200}(?=@)"
_TOKENS = (
    r"\bsk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{16,}",
    r"\bgh[opsur]_[A-Za-z0-9]{30,}",
    r"\bgithub_pat_[A-Za-z0-9_]{22,}",
    r"\bgl(?:pat|dt|rt|cbt|ptt|soat)-[A-Za-z0-9_.-]{20,}",
    r"\bATATT[A-Za-z0-9_=-]{20,}",
    r"\bA(?:KI|SI)A[A-Z0-9]{16}\b",
    r"\bAIza[A-Za-z0-9_-]{35}",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"\bsdlc-job-[A-Za-z0-9_-]{16,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
)
_SHAPES = re.compile("|".join([_PRIVATE_KEY, _LOGIN_IN_ADDRESS, *_TOKENS]))


class Redactor:
    """Replaces the given secrets wherever they stand, and whatever looks like a common kind of token or private key."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return _SHAPES.sub(_MASK, text)


def known_secrets(settings: ServiceSettings) -> list[str]:
    """A service's own secrets, and the passwords in its addresses."""
    found = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    passwords = [password for value in found if "://" in value and (password := urlsplit(value).password)]
    return [*found, *passwords, *map(unquote, passwords)]
