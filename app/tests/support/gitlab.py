"""A stand-in for GitLab: gitlab.com or self-managed. Read `support.standins` first."""

import re
from dataclasses import dataclass
from typing import Any

from starlette.responses import PlainTextResponse, Response

from sdlc_agents.kernel.clock import now
from support.contracts import ContractError
from support.standins import Asked, RefusedError, StandIn, basic, bearer, git_refused, page

TOKEN = "glpat-" + "g" * 20
PROJECT, FORK = 7, 8
"""Ids of the project and of a fork of it."""
_QUICK_ACTION = re.compile(r"^/[a-z]", re.MULTILINE | re.IGNORECASE)


@dataclass
class GitLabToken:
    """A token's scopes, and the level of its owner in the project: 30 is Developer, None not shown."""

    username: str = "sdlc-bot"
    scopes: tuple[str, ...] = ("api", "write_repository")
    level: int | None = 30
    tells: bool = True


class GitLab(StandIn):
    """GitLab with one project. `premium` takes more than one reviewer. Nobody may give it a quick action."""

    vendor = "gitlab"

    def __init__(self, host: str = "gitlab.com", prefix: str = "", path: str = "demo/shop") -> None:
        super().__init__({host}, f"{prefix}/api/v4")
        self.web = f"https://{host}{prefix}"
        self.prefix = prefix
        self.path = path
        self.tokens = {TOKEN: GitLabToken()}
        self.project: dict[str, Any] = {
            "default_branch": "main",
            "merge_requests_enabled": True,
            "merge_requests_access_level": "enabled",
            "repository_access_level": "enabled",
        }
        self.branches = {"main", "release/1", "feature/SHOP-1"}
        self.users = {"sdlc-bot": 1, "alice": 2, "bob": 3}
        self.premium = True
        self.unique = True
        self.requests: list[dict[str, Any]] = []
        self.notes: list[dict[str, Any]] = []
        self.reviewers: list[dict[str, Any]] = []

    def user(self, username: str) -> dict[str, Any]:
        """A user as answers show one."""
        return self.contract.example("user", id=self.users[username], username=username)

    def open_from_fork(self, branch: str, target: str) -> None:
        """A merge request of bob's, from a branch of his fork."""
        self._add({"title": "Mine", "source_branch": branch, "target_branch": target}, author="bob", source=FORK)

    def admit(self, asked: Asked) -> None:
        """A token that is known."""
        token = self.tokens.get(bearer(asked))
        if token is None:
            raise RefusedError(401, {"message": "401 Unauthorized"})
        needed = {"api"} if asked.method != "GET" else {"api", "read_api"}
        if asked.path.endswith("/personal_access_tokens/self"):
            if not token.tells:
                raise RefusedError(404, {"message": "404 Not Found"})
        elif not needed & set(token.scopes):
            raise RefusedError(
                403,
                {
                    "error": "insufficient_scope",
                    "error_description": "The request requires higher privileges than provided by the access token.",
                    "scope": " ".join(sorted(needed)),
                },
            )

    def other(self, asked: Asked) -> Response:
        """What `git push` asks first."""
        if asked.path != f"{self.prefix}/{self.path}.git/info/refs":
            return PlainTextResponse("<html>", 404, media_type="text/html")
        name, password = basic(asked)
        token = self.tokens.get(password)
        if name != "oauth2" or token is None:
            return git_refused(401)
        may = "write_repository" in token.scopes and (token.level or 0) >= 30
        return PlainTextResponse("001f# service=git-receive-pack\n") if may else git_refused(403)

    async def operate(self, asked: Asked, template: str, given: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """The operations of the contract."""
        token = self.tokens[bearer(asked)]
        if template.startswith("/projects/") and (given["id"] != self.path or token.level == 0):
            raise RefusedError(404, {"message": "404 Project Not Found"})
        name = template.rsplit("/", 1)[-1].strip("{}") if template != "/projects/{id}" else "project"
        made = getattr(self, f"_{asked.method.lower()}_{name}")(asked, given, token)
        status, document = await made if hasattr(made, "__await__") else made
        return status, document, {}

    def _get_user(self, _asked: Asked, _given: dict[str, str], token: GitLabToken) -> tuple[int, Any]:
        return 200, self.user(token.username)

    def _get_users(self, asked: Asked, _given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        return 200, [self.user(name) for name in self.users if name == asked.query["username"]]

    def _get_id(self, _asked: Asked, _given: dict[str, str], token: GitLabToken) -> tuple[int, Any]:
        return 200, self.contract.example("token", scopes=list(token.scopes), active=True)

    def _get_project(self, _asked: Asked, _given: dict[str, str], token: GitLabToken) -> tuple[int, Any]:
        access = None if token.level is None else {"access_level": token.level, "notification_level": 3}
        permissions = {"project_access": None, "group_access": access}
        return 200, self.contract.example(
            "project", path_with_namespace=self.path, permissions=permissions, **self.project
        )

    def _get_branch(self, _asked: Asked, given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        if given["branch"] not in self.branches:
            raise RefusedError(404, {"message": "404 Branch Not Found"})
        return 200, self.contract.example("branch", name=given["branch"])

    def _get_merge_requests(self, asked: Asked, _given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        query = asked.query
        found = [
            self._shown(request)
            for request in self.requests
            if all(request[key] == query.get(key, request[key]) for key in ("state", "source_branch", "target_branch"))
        ]
        return 200, page(found, query, 20)

    async def _post_merge_requests(self, asked: Asked, _given: dict[str, str], token: GitLabToken) -> tuple[int, Any]:
        body = asked.body
        _take(body["description"])
        if token.level is not None and token.level < 30:
            raise RefusedError(403, {"message": "403 Forbidden"})
        if {body["source_branch"], body["target_branch"]} - self.branches:
            raise RefusedError(400, {"message": {"target_branch": ["does not exist"]}})
        if self.unique and any(
            (shown["state"], shown["source_branch"], shown["source"]) == ("opened", body["source_branch"], PROJECT)
            for shown in self.requests
        ):
            raise RefusedError(
                409, {"message": ["Another open merge request already exists for this source branch: !1"]}
            )
        request = self._add(body, author=token.username, source=PROJECT)
        await self.opening.wait()
        return 201, self._shown(request)

    def _add(self, body: dict[str, Any], **facts: Any) -> dict[str, Any]:
        request = {"iid": len(self.requests) + 1, "state": "opened", "reviewers": [], **facts, **body}
        self.requests.append(request)
        return request

    def _get_merge_request_iid(self, _asked: Asked, given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        return 200, self._shown(self._request(given))

    def _put_merge_request_iid(self, asked: Asked, given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        request = self._request(given)
        if asked.body.get("state_event") == "close":
            request["state"] = "closed"
        known = {number: name for name, number in self.users.items()}
        if "reviewer_ids" in asked.body:
            taken = [known[number] for number in asked.body["reviewer_ids"]]
            request["reviewers"] = taken if self.premium else taken[:1]
        return 200, self._shown(request)

    def _get_notes(self, asked: Asked, _given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        shown = sorted(self.notes, key=lambda note: str(note["created_at"]), reverse=asked.query.get("sort") != "asc")
        return 200, [self.contract.example("note", **note) for note in page(shown, asked.query, 20)]

    def _post_notes(self, asked: Asked, given: dict[str, str], token: GitLabToken) -> tuple[int, Any]:
        self._request(given)
        _take(asked.body["body"])
        author = self.user(token.username)
        note = {"id": 10_000 + len(self.notes), "author": author, "created_at": now().isoformat(), **asked.body}
        self.notes.append(note)
        return 201, self.contract.example("note", **note)

    def _get_reviewers(self, asked: Asked, _given: dict[str, str], _token: GitLabToken) -> tuple[int, Any]:
        return 200, [self.contract.example("reviewer", **each) for each in page(self.reviewers, asked.query, 20)]

    def _request(self, given: dict[str, str]) -> dict[str, Any]:
        number = int(given["merge_request_iid"])
        if not 1 <= number <= len(self.requests):
            raise RefusedError(404, {"message": "404 Not found"})
        return self.requests[number - 1]

    def _shown(self, request: dict[str, Any]) -> dict[str, Any]:
        copied = ("iid", "state", "title", "source_branch", "target_branch")
        return self.contract.example(
            "merge_request",
            **{key: request[key] for key in copied},
            id=1000 + request["iid"],
            source_project_id=request["source"],
            target_project_id=PROJECT,
            description=request.get("description"),
            draft=request["title"].startswith("Draft: "),
            author=self.user(request["author"]),
            reviewers=[self.user(name) for name in request["reviewers"]],
            sha="a" * 40,
            web_url=f"{self.web}/{self.path}/-/merge_requests/{request['iid']}",
        )


def _take(text: str) -> None:
    """GitLab drops carriage returns before it looks for quick actions."""
    if _QUICK_ACTION.search(text.replace("\r", "")):
        raise ContractError(f"a quick action: {text}")
