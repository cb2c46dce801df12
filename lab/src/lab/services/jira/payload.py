"""The webhook that Jira sends when somebody moves a ticket to another status.

After Atlassian's "Webhooks" page (Jira Data Center 8.20): event `jira:issue_updated` with the whole issue
and a changelog; the signature is Cloud's and Data Center's `X-Hub-Signature` (WebSub, HMAC-SHA256 over
the raw body).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE_URL = "https://jira.lab"
TO_DO = ("10000", "To Do")
IN_DEVELOPMENT = ("10001", "In Development")


@dataclass(frozen=True)
class Ticket:
    """What a person wrote. `description` is text (Data Center), a document (Cloud's ADF) or nothing."""

    key: str
    summary: str
    description: str | Mapping[str, Any] | None = None
    components: Sequence[str] = field(default_factory=tuple)


def _user() -> dict[str, Any]:
    return {
        "self": f"{BASE_URL}/rest/api/2/user?username=lab-user",
        "name": "lab-user",
        "key": "JIRAUSER10100",
        "emailAddress": "lab-user@example.com",
        "avatarUrls": {"48x48": f"{BASE_URL}/secure/useravatar?avatarId=10122"},
        "displayName": "Lab user",
        "active": True,
        "timeZone": "Etc/UTC",
    }


def _status(identity: str, name: str) -> dict[str, Any]:
    return {
        "self": f"{BASE_URL}/rest/api/2/status/{identity}",
        "description": "",
        "iconUrl": f"{BASE_URL}/images/icons/statuses/generic.png",
        "name": name,
        "id": identity,
        "statusCategory": {
            "self": f"{BASE_URL}/rest/api/2/statuscategory/4",
            "id": 4,
            "key": "indeterminate",
            "colorName": "yellow",
            "name": "In Progress",
        },
    }


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000+0000", time.gmtime())


def issue(ticket: Ticket, status: tuple[str, str] = IN_DEVELOPMENT) -> dict[str, Any]:
    """The ticket as Jira's REST API and webhooks show it."""
    project = ticket.key.rpartition("-")[0]
    identity = str(10000 + int.from_bytes(hashlib.sha256(ticket.key.encode()).digest()[:3], "big"))
    return {
        "id": identity,
        "self": f"{BASE_URL}/rest/api/2/issue/{identity}",
        "key": ticket.key,
        "fields": {
            "issuetype": {
                "self": f"{BASE_URL}/rest/api/2/issuetype/10001",
                "id": "10001",
                "description": "",
                "iconUrl": f"{BASE_URL}/secure/viewavatar?size=xsmall&avatarId=10315&avatarType=issuetype",
                "name": "Story",
                "subtask": False,
                "avatarId": 10315,
            },
            "project": {
                "self": f"{BASE_URL}/rest/api/2/project/10000",
                "id": "10000",
                "key": project,
                "name": project.title(),
                "projectTypeKey": "software",
                "avatarUrls": {"48x48": f"{BASE_URL}/secure/projectavatar?avatarId=10324"},
            },
            "summary": ticket.summary,
            "description": ticket.description,
            "status": _status(*status),
            "priority": {"self": f"{BASE_URL}/rest/api/2/priority/3", "name": "Medium", "id": "3"},
            "labels": [],
            "components": [
                {"self": f"{BASE_URL}/rest/api/2/component/{10000 + number}", "id": str(10000 + number), "name": name}
                for number, name in enumerate(ticket.components)
            ],
            "creator": _user(),
            "reporter": _user(),
            "assignee": None,
            "resolution": None,
            "fixVersions": [],
            "created": _stamp(),
            "updated": _stamp(),
        },
    }


def moved(
    document: Mapping[str, Any], before: tuple[str, str] = TO_DO, after: tuple[str, str] = IN_DEVELOPMENT
) -> dict[str, Any]:
    """The webhook for an issue that went from one status to another, each an id and a name."""
    return {
        "timestamp": int(time.time() * 1000),
        "webhookEvent": "jira:issue_updated",
        "issue_event_type_name": "issue_generic",
        "user": _user(),
        "issue": document,
        "changelog": {
            "id": str(10000 + time.time_ns() // 1_000_000 % 1_000_000),
            "items": [
                {
                    "field": "status",
                    "fieldtype": "jira",
                    "from": before[0],
                    "fromString": before[1],
                    "to": after[0],
                    "toString": after[1],
                }
            ],
        },
    }


def encode(document: Mapping[str, Any]) -> bytes:
    """The raw body that is signed and sent."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def headers(body: bytes, secret: str, delivery: str | None = None) -> dict[str, str]:
    """Jira's headers for this body; `delivery` is the id that stays the same when Jira tries again."""
    return {
        "Content-Type": "application/json; charset=UTF-8",
        "User-Agent": "Atlassian HttpClient unknown / JIRA-8.20.8 (820008) / Default",
        "X-Atlassian-Webhook-Identifier": delivery or str(uuid.uuid4()),
        "X-Hub-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
    }
