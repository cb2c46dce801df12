"""A stand-in for GitHub: github.com with api.github.com, or an Enterprise Server. Read `support.standins` first."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from sdlc_agents.kernel.clock import now
from support.contracts import ContractError
from support.standins import Asked, RefusedError, StandIn, basic, bearer, git_refused, page

CLASSIC = "ghp_" + "c" * 36
FINE_GRAINED = "github_pat_" + "f" * 40
REPOSITORY, FORK = 7, 8
"""Ids of the repository and of a fork of it."""
_DOCUMENTATION = "https://docs.github.com/rest"


@dataclass
class GitHubToken:
    """A classic token has `scopes`, a fine-grained one `rights`."""

    login: str = "sdlc-bot"
    push: bool = True
    scopes: tuple[str, ...] | None = None
    rights: dict[str, str] = field(default_factory=dict)
    single_sign_on: bool = False

    def may(self, right: str, level: str) -> bool:
        """Whether it has this right at this level."""
        if self.scopes is not None:
            return "repo" in self.scopes and (level == "read" or self.push)
        return self.rights.get(right) in {level, "write"} and (level == "read" or self.push)


@dataclass
class Quota:
    """A rate limit: so many requests until `reset` (seconds since 1970)."""

    limit: int
    reset: int
    used: int = 0

    @property
    def remaining(self) -> int:
        """How many are left."""
        return self.limit - self.used

    def headers(self) -> dict[str, str]:
        """What every answer tells of it."""
        shown = {"limit": self.limit, "remaining": self.remaining, "reset": self.reset}
        return {f"x-ratelimit-{name}": str(value) for name, value in shown.items()}


class GitHub(StandIn):
    """GitHub with one private repository, demo/shop."""

    vendor = "github"

    def __init__(self, enterprise: str | None = None) -> None:
        super().__init__(
            {enterprise} if enterprise else {"api.github.com", "github.com"}, "/api/v3" if enterprise else ""
        )
        self.enterprise = enterprise
        self.web = f"https://{enterprise or 'github.com'}"
        self.private_mode = False
        self.quota: Quota | None = None
        self.conditional = True
        self.tokens = {
            CLASSIC: GitHubToken(scopes=("repo",)),
            FINE_GRAINED: GitHubToken(rights={"metadata": "read", "contents": "write", "pull_requests": "write"}),
        }
        self.repository: dict[str, Any] = {"archived": False, "has_pull_requests": True, "default_branch": "main"}
        self.branches = {"main", "release/1", "feature/SHOP-1"}
        self.collaborators = {"alice", "bob"}
        self.drafts = True
        self.unique = True
        self.pulls: list[dict[str, Any]] = []
        self.remarks: list[dict[str, Any]] = []
        self.line_remarks: list[dict[str, Any]] = []
        self.reviews: list[dict[str, Any]] = []

    def user(self, login: str) -> dict[str, Any]:
        """A user as answers show one."""
        return self.contract.example("simple-user", login=login)

    async def answer(self, asked: Asked, path: str) -> Response:
        """Within the quota, where there is one; what the asker knows already costs nothing of it."""
        if self.quota is not None and self.quota.remaining == 0:
            return rate_limited(403, **self.quota.headers())
        response = await super().answer(asked, path)
        if self.conditional and asked.method == "GET" and response.status_code == 200:
            tag = f'W/"{hashlib.sha256(response.body).hexdigest()}"'
            response = Response(status_code=304) if asked.headers.get("if-none-match") == tag else response
            response.headers["ETag"] = tag
        if self.quota is not None:
            self.quota.used += response.status_code != 304
            response.headers.update(self.quota.headers())
        return response

    def open_from_fork(self, branch: str, base: str, *, owner: str) -> None:
        """A stranger's pull request, from a branch of a fork that `owner` has."""
        self._add({"title": "Mine", "head": branch, "base": base}, author="stranger", owner=owner, repository=FORK)

    def admit(self, asked: Asked) -> None:
        """Headers that every request must have, and a token that is known."""
        if asked.path.endswith("/meta"):
            return
        wanted = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
        for name, value in wanted.items():
            if asked.headers.get(name) != value:
                raise ContractError(f"{name} is {asked.headers.get(name)}")
        if "python" in asked.headers["user-agent"]:
            raise ContractError("User-Agent does not name the application")
        token = self.tokens.get(bearer(asked))
        if token is None:
            raise self._refused(401, "Bad credentials")
        if token.single_sign_on:
            headers = {"X-GitHub-SSO": "required; url=https://github.com/orgs/demo/sso"}
            raise self._refused(403, "Resource protected by organization SAML enforcement.", headers)

    def other(self, asked: Asked) -> Response:
        """What `git push` asks first."""
        if asked.path != "/demo/shop.git/info/refs":
            return PlainTextResponse("Not Found", 404)
        name, password = basic(asked)
        token = self.tokens.get(password)
        if name != "x-access-token" or token is None:
            return git_refused(401)
        return (
            PlainTextResponse("001f# service=git-receive-pack\n")
            if token.may("contents", "write")
            else git_refused(403)
        )

    async def operate(self, asked: Asked, template: str, given: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """The operations of the contract."""
        if template == "/meta":
            return self._meta()
        token = self.tokens[bearer(asked)]
        headers = {} if token.scopes is None else {"X-OAuth-Scopes": ", ".join(token.scopes)}
        if template == "/user":
            return 200, self.contract.example("private-user", login=token.login, user_view_type="private"), headers
        readable = "repo" in token.scopes if token.scopes is not None else bool(token.rights)
        if (given["owner"], given["repo"]) != ("demo", "shop") or not readable:
            raise self._refused(404, "Not Found")
        made = getattr(self, "_" + asked.method.lower() + "_" + template.rsplit("/", 1)[-1].strip("{}"))(
            asked, given, token
        )
        status, document = await made if hasattr(made, "__await__") else made
        return status, document, headers

    def _meta(self) -> tuple[int, Any, dict[str, str]]:
        headers = {"X-GitHub-Enterprise-Version": "enterprise-server@3.19.0"}
        if self.private_mode:
            raise self._refused(401, "Must authenticate to access this API.", headers)
        return 200, self.contract.example("api-overview"), headers

    def _get_repo(self, _asked: Asked, _given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        permissions = {"admin": False, "maintain": False, "push": token.push, "triage": True, "pull": True}
        return 200, self.contract.example(
            "full-repository", full_name="demo/shop", private=True, permissions=permissions, **self.repository
        )

    def _get_branch(self, _asked: Asked, given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "contents", "read")
        if given["branch"] not in self.branches:
            raise self._refused(404, "Branch not found")
        return 200, self.contract.example("branch-with-protection", name=given["branch"])

    def _get_pulls(self, asked: Asked, _given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "read")
        owner, _, branch = asked.query["head"].partition(":")
        found = [
            self._shown(pull, "pull-request-simple")
            for pull in self.pulls
            if (owner, branch, asked.query["base"]) == (pull["owner"], pull["head"], pull["base"])
            and pull["state"] == asked.query["state"]
        ]
        return 200, page(found, asked.query, 30)

    async def _post_pulls(self, asked: Asked, _given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "write")
        body = asked.body
        if {"title", "head", "base"} - set(body):
            raise ContractError(f"title, head and base are required: {body}")
        if len(body["title"]) > 256 or len(body.get("body", "")) > 65_536:
            raise self._invalid({"resource": "PullRequest", "code": "custom", "message": "is too long"})
        if self.repository["archived"]:
            raise self._refused(403, "Repository was archived so is read-only.")
        for side in ("base", "head"):
            if body[side] not in self.branches:
                raise self._invalid({"resource": "PullRequest", "field": side, "code": "invalid"})
        if body["head"] == body["base"]:
            raise self._invalid(_custom(f"No commits between {body['base']} and {body['head']}"))
        if self._open(body) and self.unique:
            raise self._invalid(_custom(f"A pull request already exists for demo:{body['head']}."))
        if body.get("draft") and not self.drafts:
            raise self._refused(422, "Draft pull requests are not supported in this repository.")
        pull = self._add(body, author=token.login, owner="demo", repository=REPOSITORY)
        await self.opening.wait()
        return 201, self._shown(pull, "pull-request")

    def _add(self, body: dict[str, Any], **facts: Any) -> dict[str, Any]:
        pull = {"number": len(self.pulls) + 1, "state": "open", "reviewers": [], "draft": False, **facts, **body}
        self.pulls.append(pull)
        return pull

    def _get_pull_number(self, _asked: Asked, given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "read")
        return 200, self._shown(self._pull(given), "pull-request")

    def _patch_pull_number(self, asked: Asked, given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "write")
        self._pull(given).update(asked.body)
        return 200, self._shown(self._pull(given), "pull-request")

    def _post_requested_reviewers(self, asked: Asked, given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "write")
        pull = self._pull(given)
        if pull["author"] in asked.body["reviewers"]:
            raise self._refused(422, "Review cannot be requested from pull request author.")
        if not set(asked.body["reviewers"]) <= self.collaborators:
            raise self._refused(422, "Reviews may only be requested from collaborators.")
        pull["reviewers"] += asked.body["reviewers"]
        return 201, self._shown(pull, "pull-request-simple")

    def _get_comments(self, asked: Asked, _given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "read")
        on_lines = "/pulls/" in asked.path
        name = "pull-request-review-comment" if on_lines else "issue-comment"
        shown = self.line_remarks if on_lines else self.remarks
        return 200, [self.contract.example(name, **each) for each in page(shown, asked.query, 30)]

    def _get_reviews(self, asked: Asked, _given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "read")
        return 200, [
            self.contract.example("pull-request-review", **each) for each in page(self.reviews, asked.query, 30)
        ]

    def _post_reviews(self, asked: Asked, given: dict[str, str], token: GitHubToken) -> tuple[int, Any]:
        self._need(token, "pull_requests", "write")
        if asked.body.get("event") != "COMMENT" or not asked.body.get("body"):
            raise ContractError(f"the bot only comments, with a text: {asked.body}")
        if len(asked.body["body"]) > 65_536:
            raise self._refused(422, "Body is too long")
        self._pull(given)
        review = {"id": 10_000 + len(self.reviews), "state": "COMMENTED", "body": asked.body["body"]}
        facts = {"user": self.user(token.login), "commit_id": "a" * 40, "submitted_at": now().isoformat()}
        self.reviews.append(review | facts)
        return 200, self.contract.example("pull-request-review", **self.reviews[-1])

    def _open(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            pull
            for pull in self.pulls
            if (pull["state"], pull["head"], pull["base"]) == ("open", body["head"], body["base"])
            and pull["repository"] == REPOSITORY
        ]

    def _pull(self, given: dict[str, str]) -> dict[str, Any]:
        number = int(given["pull_number"])
        if not 1 <= number <= len(self.pulls):
            raise self._refused(404, "Not Found")
        return self.pulls[number - 1]

    def _shown(self, pull: dict[str, Any], name: str) -> dict[str, Any]:
        shown = self.contract.example(
            name, **{key: pull[key] for key in ("number", "state", "title", "draft")}, body=pull.get("body")
        )
        shown["html_url"] = f"{self.web}/demo/shop/pull/{pull['number']}"
        shown["head"] |= {"ref": pull["head"], "sha": "a" * 40, "label": f"{pull['owner']}:{pull['head']}"}
        shown["head"]["repo"]["id"] = pull["repository"]
        shown["base"] |= {"ref": pull["base"]}
        shown["base"]["repo"]["id"] = REPOSITORY
        shown["user"] = self.user(pull["author"])
        shown["requested_reviewers"] = [self.user(login) for login in pull["reviewers"]]
        return shown

    def _need(self, token: GitHubToken, right: str, level: str) -> None:
        if not token.may(right, level):
            headers = {"X-Accepted-GitHub-Permissions": f"{right}={level}"} if token.scopes is None else {}
            raise self._refused(403, "Resource not accessible by personal access token", headers)

    def _invalid(self, *errors: dict[str, str]) -> RefusedError:
        return RefusedError(
            422, {"message": "Validation Failed", "errors": list(errors), "documentation_url": _DOCUMENTATION}
        )

    def _refused(self, status: int, message: str, headers: dict[str, str] | None = None) -> RefusedError:
        body = {"message": message, "documentation_url": _DOCUMENTATION}
        return RefusedError(status, body | ({"status": str(status)} if status != 422 else {}), headers)


def rate_limited(status: int, **headers: str) -> Response:
    """What GitHub answers to one who asked too often."""
    body = {"message": "API rate limit exceeded for user ID 1.", "documentation_url": _DOCUMENTATION}
    return JSONResponse(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def _custom(message: str) -> dict[str, str]:
    return {"resource": "PullRequest", "code": "custom", "message": message}
