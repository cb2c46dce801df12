"""Whether a token opens a repository on Gitea for what the agents do there, asked without writing anything.

The repository, its owner's permissions and its base branch are asked for by API v1 (https://docs.gitea.com/api/). What
the token itself may do, the API does not say: so the check begins as `git push` does, by asking for the refs that
git-receive-pack advertises, which Gitea refuses to a token without the scope write:repository
(https://git-scm.com/docs/http-protocol#_smart_server_response).
"""

from typing import Any
from urllib.parse import quote

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.check import Asker, FoundError, archived, json_object, missing_branch, unheard
from sdlc_agents.forges.model import Problem, ProblemCode

_SCOPE = "the scope write:repository"


async def check(
    address: RepositoryAddress,
    username: str,
    token: str,
    client: httpx.AsyncClient,
    base_branch: str | None,
    *,
    follow_ups: bool = False,
) -> list[Problem]:
    """What stands in the way; empty when nothing does. `base_branch` None means the repository's default branch.

    With `follow_ups` also what stands in the way of reading what reviewers say.
    """
    asked = _Check(address, username, token, client)
    try:
        problems = await asked.run(base_branch)
        return [*problems, *await asked.reviews()] if follow_ups else problems
    except FoundError as found:
        return [found.problem]


class _Check:
    def __init__(self, address: RepositoryAddress, username: str, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._authorization = {"Authorization": f"token {token}"}
        self._login = (username, token)
        self._asker = Asker(address.host, client)
        self._name = address.path

    async def run(self, base_branch: str | None) -> list[Problem]:
        repository = await self._repository()
        problems = self._state(repository)
        if not (repository["permissions"].get("push") and await self._asker.may_push(self._address, *self._login)):
            problems.append(
                Problem(
                    ProblemCode.NO_PUSH_RIGHT,
                    f"git_access_token may not push to {self._name}: give its owner write permission there, and the "
                    "token the scope write:repository",
                )
            )
        branch = base_branch or repository.get("default_branch") or ""
        if repository.get("empty") or not await self._has_branch(branch):
            problems.append(missing_branch(self._address, branch, empty=bool(repository.get("empty"))))
        return problems

    async def reviews(self) -> list[Problem]:
        """Whether the token may read comments, and whose it is."""
        missing = []
        if (await self._api("/issues/comments?limit=1")).status_code == httpx.codes.FORBIDDEN:
            missing.append("read:issue")
        response = await self._asker.get(f"{self._address.base}/api/v1/user", headers=self._authorization)
        if response.status_code == httpx.codes.FORBIDDEN:
            missing.append("read:user")
        if not missing:
            return []
        return [unheard(self._address, f"give it the scope {' and '.join(missing)} as well")]

    async def _repository(self) -> dict[str, Any]:
        response = await self._api("")
        if response.status_code == httpx.codes.OK:
            document = json_object(response)
            if document is not None and isinstance(document.get("permissions"), dict):
                return document
            raise FoundError(
                ProblemCode.FORGE_UNSUPPORTED,
                f"{self._address.host} does not answer as a Gitea or Forgejo does: is it one?",
            )
        if response.status_code == httpx.codes.NOT_FOUND:
            raise FoundError(
                ProblemCode.REPOSITORY_NOT_FOUND,
                f"{self._address.host} has no repository {self._name}, or git_access_token's owner may not see it: "
                "compare the URL, and make the owner a collaborator with write permission",
            )
        raise self._asker.unexpected(response, self._address, scope=_SCOPE)

    def _state(self, repository: dict[str, Any]) -> list[Problem]:
        problems = []
        if repository.get("archived"):
            problems.append(archived(self._address))
        if repository.get("has_pull_requests") is False:
            problems.append(
                Problem(ProblemCode.PULL_REQUESTS_OFF, f"pull requests are off in {self._name}: turn them on")
            )
        return problems

    async def _has_branch(self, branch: str) -> bool:
        response = await self._api(f"/branches/{quote(branch, safe='')}")
        if response.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            return response.status_code == httpx.codes.OK
        raise self._asker.unexpected(response, self._address, scope=_SCOPE)

    async def _api(self, path: str) -> httpx.Response:
        address = self._address
        owner, name = quote(address.owner, safe=""), quote(address.name, safe="")
        url = f"{address.base}/api/v1/repos/{owner}/{name}{path}"
        return await self._asker.get(url, headers=self._authorization)
