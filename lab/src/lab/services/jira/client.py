"""Make tickets in jira.lab and move them, as a person would in the browser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.console import LabError
from lab.services import SERVICES_ADDRESS, https
from lab.services.documents import Json
from lab.services.jira import payload


@dataclass(frozen=True)
class Jira:
    """The lab's Jira. `address` is where jira.lab is, for a machine that cannot resolve the name."""

    token: str
    ca: Path
    url: str = payload.BASE_URL
    address: str = SERVICES_ADDRESS

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """One call of the REST API; the decoded answer or None. LabError for anything but success."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        answer = https.call(
            method, f"{self.url}{path}", ca=self.ca, address=self.address, headers=headers, body=content
        )
        if answer.status >= 300:
            raise LabError(f"jira answered {answer.status} to {method} {path}: {answer.body[:300]!r}")
        return answer.json() if answer.body else None

    def create(self, project: str, summary: str, description: str = "", components: Sequence[str] = ()) -> str:
        """A new story in status To Do; its key."""
        fields: dict[str, Any] = {
            "project": {"key": project},
            "issuetype": {"name": "Story"},
            "summary": summary,
            "description": description,
        }
        if components:
            fields["components"] = [{"name": name} for name in components]
        key: str = self.call("POST", "/rest/api/2/issue", {"fields": fields})["key"]
        return key

    def move(self, key: str, status: str = payload.IN_DEVELOPMENT[1]) -> dict[str, Any]:
        """Move a ticket; the webhook that Jira sends for it."""
        found = self.call("GET", f"/rest/api/2/issue/{key}")["fields"]["status"]
        offered = self.call("GET", f"/rest/api/2/issue/{key}/transitions")["transitions"]
        transition = next((entry for entry in offered if entry["to"]["name"] == status), None)
        if transition is None:
            raise LabError(f"{key} cannot go from {found['name']} to {status}")
        self.call("POST", f"/rest/api/2/issue/{key}/transitions", {"transition": {"id": transition["id"]}})
        target = transition["to"]
        document = self.call("GET", f"/rest/api/2/issue/{key}")
        return payload.moved(document, (found["id"], found["name"]), (target["id"], target["name"]))

    def comments(self, key: str) -> list[str]:
        """The text of a ticket's comments, oldest first."""
        listed = self.call("GET", f"/rest/api/2/issue/{key}/comment")["comments"]
        return [comment["body"] for comment in listed]
