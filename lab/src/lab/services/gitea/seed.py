"""What is in the lab's Gitea from the start: organisation `demo` and the repository `demo/shop`."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

from lab.console import LabError
from lab.services.documents import Json
from lab.services.gitea.instance import ADMIN, BOT

ORGANISATION = "demo"
REPOSITORY = "shop"
_SHOP = Path(__file__).with_name("shop")
"""The repository's files. Each name ends in .txt, so that this project's own checks leave them alone."""


class Api:
    """Gitea's REST API, as one user."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def call(self, method: str, path: str, body: Json = None, *, fine: tuple[int, ...] = ()) -> Json:
        """One call; the decoded answer, or None for a status in `fine`. Any other failure is a LabError."""
        request = urllib.request.Request(  # noqa: S310 - an address of ours
            f"{self._url}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"token {self._token}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                content = answer.read()
        except urllib.error.HTTPError as error:
            if error.code in fine:
                return None
            told = error.read().decode(errors="replace")[:500]
            raise LabError(f"gitea answered {error.code} to {method} {path}: {told}") from error
        return json.loads(content) if content else None


def seed(api: Api, admin_password: str) -> None:
    """Make what is missing; a second call changes nothing but the administrator's password."""
    api.call(
        "PATCH",
        f"/admin/users/{ADMIN}",
        {"source_id": 0, "login_name": ADMIN, "password": admin_password, "must_change_password": False},
    )
    api.call("POST", "/orgs", {"username": ORGANISATION, "visibility": "public"}, fine=(422,))
    repository = f"/repos/{ORGANISATION}/{REPOSITORY}"
    if api.call("GET", repository, fine=(404,)) is None:
        api.call(
            "POST",
            f"/orgs/{ORGANISATION}/repos",
            {"name": REPOSITORY, "private": True, "default_branch": "main", "description": "A till's library"},
        )
    if api.call("GET", f"{repository}/branches/main", fine=(404,)) is None:
        api.call(
            "POST",
            f"{repository}/contents",
            {"branch": "main", "message": "The shop's first version", "files": _files()},
        )
    api.call("PUT", f"{repository}/collaborators/{BOT}", {"permission": "write"})
    api.call(
        "POST",
        f"{repository}/branch_protections",
        {"rule_name": "main", "enable_push": False, "required_approvals": 1},
        fine=(403, 422),
    )


def _files() -> list[dict[str, str]]:
    files = []
    for path in sorted(_SHOP.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(_SHOP)).removesuffix(".txt")
            content = base64.b64encode(path.read_bytes()).decode()
            files.append({"operation": "create", "path": name, "content": content})
    return files
