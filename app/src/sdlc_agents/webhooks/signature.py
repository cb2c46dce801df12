"""The signature of a delivery: `X-Hub-Signature: sha256=<hex>`, HMAC-SHA256 (RFC 2104) over the raw body.

https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks (the WebSub specification's form:
https://www.w3.org/TR/websub/#signing-content).
"""

import hashlib
import hmac
import re
from collections.abc import Sequence

_HEADER = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)


def sign(body: bytes, secret: bytes) -> str:
    """The header's value for a body."""
    return "sha256=" + hmac.digest(secret, body, hashlib.sha256).hex()


def is_authentic(body: bytes, header: str | None, secrets: Sequence[bytes]) -> bool:
    """Whether one of the secrets signed the body.

    Compares in constant time and with every secret, so that the time taken tells neither a digit nor which secret.
    A header of another form or algorithm is not authentic.
    """
    match = _HEADER.fullmatch(header or "")
    if match is None:
        return False
    given = bytes.fromhex(match[1])
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(hmac.digest(secret, body, hashlib.sha256), given)
    return found
