"""What the tests borrow from the lab: the scripted Messages API and a real Gitea, both on loopback."""

import base64
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from lab.services.claude import server as messages_api

from sdlc_agents.consumer.checkout.remote import Transport
from sdlc_agents.git.command import Credentials, Git

API_KEY = "sk-lab-" + "k" * 40
JIRA_TOKEN = "jira-" + "t" * 40


async def comments(jira: httpx.AsyncClient, key: str) -> list[str]:
    """What a ticket was told so far, by a client of Jira's REST API; Jira lists those of one minute in any order."""
    answer = await jira.get(f"/issue/{key}/comment")
    return [comment["body"] for comment in answer.raise_for_status().json()["comments"]]


@asynccontextmanager
async def scripted_claude(key: str = API_KEY) -> AsyncIterator[str]:
    """The lab's scripted Messages API; yields its base URL. `[[lab:…]]` in a prompt chooses the script."""
    async with messages_api.build(key) as server:
        yield f"http://127.0.0.1:{server.port}"


@dataclass(frozen=True)
class Gitea:
    """A real Gitea: its address behind TLS, and an administrator's and the bot's token."""

    url: str
    admin_token: str
    bot_token: str
    ca_file: Path

    async def call(
        self, method: str, path: str, document: Any = None, *, accept: tuple[int, ...] = (), token: str = ""
    ) -> Any:
        """One call of its API as the administrator or a token's owner: JSON, or the text of an answer that is none.

        Fails on an error status that is not in `accept`.
        """
        authority = ssl.create_default_context(cafile=self.ca_file)
        async with httpx.AsyncClient(verify=authority, trust_env=False, timeout=20) as client:
            response = await client.request(
                method,
                f"{self.url}/api/v1{path}",
                json=document,
                headers={"Authorization": f"token {token or self.admin_token}"},
            )
        if response.status_code not in accept:
            response.raise_for_status()
        if not response.content:
            return None
        return response.json() if "json" in response.headers["content-type"] else response.text

    async def make_user(self, *scopes: str) -> tuple[str, str]:
        """A user that no other test uses: name, and a token of these scopes."""
        name, password = f"u{secrets.token_hex(5)}", secrets.token_urlsafe(24)
        user = {"username": name, "email": f"{name}@example.test", "password": password, "must_change_password": False}
        await self.call("POST", "/admin/users", user)
        authority = ssl.create_default_context(cafile=self.ca_file)
        async with httpx.AsyncClient(verify=authority, trust_env=False, auth=(name, password)) as client:
            token = await client.post(f"{self.url}/api/v1/users/{name}/tokens", json={"name": "t", "scopes": scopes})
        return name, token.raise_for_status().json()["sha1"]

    async def make_repository(
        self, files: Mapping[str, str] | None = None, *, branch: str = "main", write: bool = True
    ) -> "GiteaRepository":
        """A repository of the organisation `demo` that no other test uses; the bot may write to it, or only read."""
        name = f"r{secrets.token_hex(5)}"
        await self.call("POST", "/orgs/demo/repos", {"name": name, "private": True, "default_branch": branch})
        repository = GiteaRepository(self, name)
        await repository.commit(files or {"README.md": "# A thing\n"}, branch=branch)
        permission = {"permission": "write" if write else "read"}
        await self.call("PUT", f"/repos/demo/{name}/collaborators/sdlc-bot", permission)
        return repository


@dataclass(frozen=True)
class GiteaRepository:
    """One repository there."""

    gitea: Gitea
    name: str

    @property
    def url(self) -> str:
        """As a project names it."""
        return f"{self.gitea.url}/demo/{self.name}"

    async def call(
        self, method: str, path: str, document: Any = None, *, accept: tuple[int, ...] = (), token: str = ""
    ) -> Any:
        """One call about this repository."""
        return await self.gitea.call(method, f"/repos/demo/{self.name}{path}", document, accept=accept, token=token)

    async def person(self) -> "Person":
        """Somebody who may write to it."""
        name, token = await self.gitea.make_user("write:repository", "write:issue")
        await self.call("PUT", f"/collaborators/{name}", {"permission": "write"})
        return Person(self, name, token)

    async def commit(
        self, files: Mapping[str, str], *, branch: str = "main", new_branch: str | None = None, message: str = "change"
    ) -> None:
        """Add files on a branch, as a person would; `new_branch` is made from it first."""
        changes = [
            {"operation": "create", "path": path, "content": base64.b64encode(text.encode()).decode()}
            for path, text in files.items()
        ]
        document: dict[str, Any] = {"branch": branch, "message": message, "files": changes}
        if new_branch is not None:
            document["new_branch"] = new_branch
        await self.call("POST", "/contents", document)

    async def push(self, directory: Path, *references: str) -> None:
        """Push from a repository on disk, by force, as the administrator."""
        transport = Transport(None, self.gitea.ca_file)
        git = Git(directory, transport.protocols, transport.options())
        credentials = Credentials(self.gitea.url, "lab-admin", self.gitea.admin_token)
        await git.run("push", "--quiet", "--force", f"{self.url}.git", *references, credentials=credentials)

    async def head(self, branch: str) -> str | None:
        """The branch's commit; None without such a branch."""
        found = await self.call("GET", f"/branches/{branch}", accept=(404,))
        return found["commit"]["id"] if "commit" in found else None

    async def pull_requests(self) -> list[dict[str, Any]]:
        """All pull requests, also closed ones."""
        listed: list[dict[str, Any]] = await self.call("GET", "/pulls?state=all")
        return listed

    async def content(self, path: str, branch: str) -> str:
        """A file's text."""
        found = await self.call("GET", f"/contents/{path}?ref={branch}")
        return base64.b64decode(found["content"]).decode(errors="replace")


@dataclass(frozen=True)
class Person:
    """A colleague of the bot's, who looks at its pull requests."""

    repository: GiteaRepository
    name: str
    token: str

    async def comment(self, number: int, body: str) -> None:
        """Write a plain comment."""
        await self.repository.call("POST", f"/issues/{number}/comments", {"body": body}, token=self.token)

    async def review(self, number: int, event: str, body: str, **lines: tuple[str, int]) -> None:
        """Submit a review (or begin one, `event="PENDING"`); `lines` are comments: text=(path, line)."""
        comments = [
            {"path": path, "new_position": line, "body": text.replace("_", " ")} for text, (path, line) in lines.items()
        ]
        document = {"event": event, "body": body, "comments": comments}
        await self.repository.call("POST", f"/pulls/{number}/reviews", document, token=self.token)
