"""Signed tickets in Jira's shape, 1.5 kB each and every one another ticket and delivery, as a file for `load.c`."""

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson

from sdlc_agents.webhooks.signature import sign

BODY_BYTES = 1500
STATUS = "In Development"
_NUMBER = "00000000"


def bodies(project_key: str, first: int) -> Iterator[bytes]:
    """Payloads of the tickets `first`, `first + 1`, … (at most eight digits), without end."""
    before, between, after = _template(project_key).split(_NUMBER.encode())
    number = first
    while True:
        digits = b"%08d" % number
        yield b"".join((before, digits, between, digits, after))
        number += 1


def write_requests(path: Path, count: int, *, project_key: str, first: int, secret: bytes) -> None:
    """Write `count` requests that post a ticket each to /webhook."""
    with path.open("wb") as file:
        for number, body in enumerate(islice(bodies(project_key, first), count), first):
            head = (
                f"POST /webhook HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nUser-Agent: Atlassian Webhook HTTP Client\r\n"
                f"X-Atlassian-Webhook-Identifier: {project_key}-{number}\r\n"
                f"X-Hub-Signature: {sign(body, secret)}\r\n\r\n"
            ).encode()
            file.write(struct.pack("=I", len(head) + len(body)) + head + body)


def _template(project_key: str) -> bytes:
    """A payload whose issue id and number are `_NUMBER`, filled up to `BODY_BYTES`."""
    site = "https://example.atlassian.net/rest/api/2"
    payload = {
        "timestamp": 1772615730200,
        "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_generic",
        "user": {"accountId": "5b10a2844c20165700ede21g", "displayName": "Ada Lovelace", "active": True},
        "issue": {
            "id": _NUMBER,
            "key": f"{project_key}-{_NUMBER}",
            "fields": {
                "issuetype": {"self": f"{site}/issuetype/10001", "id": "10001", "name": "Task", "subtask": False},
                "project": {"self": f"{site}/project/10000", "id": "10000", "key": project_key, "name": "Web shop"},
                "priority": {"self": f"{site}/priority/3", "name": "Medium", "id": "3"},
                "labels": ["agent"],
                "components": [{"id": "10011", "name": "checkout", "description": "What happens after the basket"}],
                "status": {"self": f"{site}/status/10002", "name": STATUS, "id": "10002"},
                "summary": "Give a discount of ten percent from the third article on",
                "description": "",
            },
        },
        "changelog": {
            "id": "10411",
            "items": [
                {
                    "field": "status",
                    "fieldtype": "jira",
                    "from": "10001",
                    "fromString": "Selected for Development",
                    "to": "10002",
                    "toString": STATUS,
                }
            ],
        },
    }
    story = "A customer who buys three articles or more pays ten percent less for each of them. "
    room = BODY_BYTES - len(orjson.dumps(payload))
    payload["issue"]["fields"]["description"] = (story * (room // len(story) + 1))[:room]  # type: ignore[index]
    return orjson.dumps(payload)
