#!/usr/bin/python3
"""Answers squid's questions about clients by asking an authority over HTTP.

    squid_authorization.py login URL    as `auth_param basic program`: is this user's password good?
    squid_authorization.py host URL     as `external_acl_type` with `%>ha{Proxy-Authorization} %DST`: may it go there?

Both with `concurrency=`: each line begins with a number, which the answer repeats. The authority gets
`POST URL {"job": user, "token": password, "host": host}` and says 204 (yes) or 403 (no). Whatever else happens, also
that it does not answer within `SECONDS`, is no.

https://wiki.squid-cache.org/Features/AddonHelpers
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import queue
import sys
import threading
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

SECONDS = 3.0
WORKERS = 8
LINE_CHARACTERS = 8192
ALLOWED, REFUSED = 204, 403

Question = dict[str, str]


def login(fields: list[str]) -> Question:
    """The question behind `user password`. Raises `ValueError` when the line is none."""
    user, password = fields
    return {"job": unquote(user), "token": unquote(password)}


def host(fields: list[str]) -> Question:
    """The question behind `Proxy-Authorization-header host`. Raises `ValueError` when the line is none."""
    header, name = (unquote(field) for field in fields[:2])
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        raise ValueError("no Basic credentials")
    user, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    if not colon:
        raise ValueError("no password")
    return {"job": user, "token": password, "host": name}


KINDS: dict[str, Callable[[list[str]], Question]] = {"login": login, "host": host}


def ask(url: str, question: Question) -> bool:
    """The authority's answer. Raises `OSError` or `http.client.HTTPException` when there is none."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise OSError("the authority's URL names no host")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    try:
        connection.request("POST", parts.path or "/", json.dumps(question), {"Content-Type": "application/json"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status not in {ALLOWED, REFUSED}:
        raise http.client.HTTPException(f"the authority answered {status}")
    return status == ALLOWED


def answer(kind: str, url: str, line: str) -> str:
    """What squid is told about one line."""
    channel, *fields = line.split()
    try:
        question = KINDS[kind](fields)
    except (ValueError, binascii.Error):
        return f"{channel} ERR"
    try:
        return f"{channel} {'OK' if ask(url, question) else 'ERR'}"
    except (OSError, http.client.HTTPException) as error:
        # squid writes what stands on standard error to its cache log; no credential is in it.
        print(f"squid_authorization: {url} cannot be asked: {error}", file=sys.stderr, flush=True)
        return f"{channel} BH message=unavailable"


def main(kind: str, url: str) -> None:
    """Answer until standard input ends."""
    lines: queue.Queue[str] = queue.Queue(maxsize=WORKERS)
    printing = threading.Lock()

    def work() -> None:
        while True:
            told = answer(kind, url, lines.get())
            with printing:
                print(told, flush=True)

    for _ in range(WORKERS):
        threading.Thread(target=work, daemon=True).start()
    while line := sys.stdin.readline(LINE_CHARACTERS):
        if line.strip():
            lines.put(line)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in KINDS:
        raise SystemExit("usage: squid_authorization.py login|host URL")
    main(*sys.argv[1:])
