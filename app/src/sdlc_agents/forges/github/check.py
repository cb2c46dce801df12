"""Whether a token opens a repository on GitHub for what the agents do there, asked without writing anything.

A classic token's scopes are in every answer (X-OAuth-Scopes). What a fine-grained token may do, no answer says: so the
check begins as `git push` does (`Asker.may_push`), and asks for a pull request from the base branch into itself, which
GitHub can only refuse: with 422 when the token may open pull requests, with 403 when it may not.

For follow-ups the repository's comments on lines are asked for: the right that opens them ("Pull requests") opens the
other comments and the reviews as well.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.calls import Api
from sdlc_agents.forges.check import Asker, FoundError, archived, json_object, missing_branch, unheard
from sdlc_agents.forges.model import Problem, ProblemCode

_TO_READ = '"Contents: write" and "Pull requests: write" (fine-grained), or the scope repo (classic)'


async def check(
    api: Api,
    repository: str,
    address: RepositoryAddress,
    login: tuple[str, str],
    base_branch: str | None,
    *,
    follow_ups: bool = False,
) -> list[Problem]:
    """What stands in the way; empty when nothing does. `base_branch` None means the repository's default branch.

    `repository` is its path in the API (`/repos/owner/name`), `login` what git is to say. With `follow_ups` also what
    stands in the way of reading what reviewers say.
    """
    asked = _Check(api, repository, address, login)
    try:
        problems = await asked.run(base_branch)
        return [*problems, *await asked.reviews(problems)] if follow_ups else problems
    except FoundError as found:
        return [found.problem]


class _Check:
    def __init__(self, api: Api, repository: str, address: RepositoryAddress, login: tuple[str, str]) -> None:
        self._address = address
        self._url = api.url + repository
        self._owner_url = f"{api.url}/user"
        self._headers = dict(api.headers)
        self._login = login
        self._asker = Asker(httpx.URL(api.url).netloc.decode(), api.client)
        self._git = Asker(address.host, api.client)

    async def run(self, base_branch: str | None) -> list[Problem]:
        answer = await self._ask("")
        repository = self._repository(answer)
        problems = self._state(repository)
        given = answer.headers.get("x-oauth-scopes")
        scopes = None if given is None else {scope.strip() for scope in given.split(",")}
        enough = {"repo"} if repository["private"] else {"repo", "public_repo"}
        if scopes is not None and not scopes & enough:
            problems.append(self._no_push("give the token the scope repo"))
        elif not repository["permissions"].get("push"):
            problems.append(self._no_push("give its owner the role Write there"))
        elif not await self._git.may_push(self._address, *self._login):
            problems.append(self._no_push('give the token the right "Contents: write"'))
        branch = base_branch or repository["default_branch"]
        if not await self._has_branch(branch):
            empty = branch == repository["default_branch"]
            problems.append(missing_branch(self._address, branch, empty=empty))
        elif scopes is None and not problems and not await self._may_open(branch):
            problems.append(
                Problem(
                    ProblemCode.NO_PULL_REQUEST_RIGHT,
                    f"git_access_token may not open pull requests in {self._address.path}: give the token the right "
                    '"Pull requests: write"',
                )
            )
        return problems

    async def reviews(self, found: list[Problem]) -> list[Problem]:
        """Whether the token may read comments, and whose it is; not asked where there are no pull requests."""
        if any(problem.code is ProblemCode.PULL_REQUESTS_OFF for problem in found):
            return []
        what_to_do = []
        if not await self._may_read(f"{self._url}/pulls/comments?per_page=1"):
            what_to_do.append('give it the right "Pull requests: write"')
        if not await self._may_read(self._owner_url):
            what_to_do.append("take a token of a user (GitHub does not say whose this one is)")
        return [unheard(self._address, " and ".join(what_to_do))] if what_to_do else []

    def _repository(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code == httpx.codes.OK:
            document = json_object(answer)
            if document is not None and isinstance(document.get("permissions"), dict):
                return document
            raise FoundError(
                ProblemCode.FORGE_UNSUPPORTED, f"{self._asker.host} does not answer as GitHub does: is it one?"
            )
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise FoundError(
                ProblemCode.REPOSITORY_NOT_FOUND,
                f"{self._address.host} has no repository {self._address.path}, or git_access_token may not see it: "
                "compare the URL, and give the token access to it (a fine-grained one must name the repository, a "
                "classic one needs the scope repo)",
            )
        if answer.headers.get("x-github-sso", "").startswith("required"):
            raise FoundError(
                ProblemCode.NO_READ_RIGHT,
                f"git_access_token must be authorized for the single sign-on of {self._address.owner}",
            )
        raise self._asker.unexpected(answer, self._address, scope=_TO_READ)

    def _state(self, repository: Mapping[str, Any]) -> list[Problem]:
        problems = []
        if repository.get("archived"):
            problems.append(archived(self._address))
        if repository.get("has_pull_requests") is False:
            problems.append(
                Problem(ProblemCode.PULL_REQUESTS_OFF, f"pull requests are off in {self._address.path}: turn them on")
            )
        return problems

    def _no_push(self, what_to_do: str) -> Problem:
        return Problem(
            ProblemCode.NO_PUSH_RIGHT, f"git_access_token may not push to {self._address.path}: {what_to_do}"
        )

    async def _has_branch(self, branch: str) -> bool:
        answer = await self._ask(f"/branches/{quote(branch, safe='')}")
        if answer.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            return answer.status_code == httpx.codes.OK
        raise self._asker.unexpected(answer, self._address, scope=_TO_READ)

    async def _may_open(self, branch: str) -> bool:
        document = {"title": "Check", "head": branch, "base": branch}
        answer = await self._asker.request("POST", f"{self._url}/pulls", json=document, headers=self._headers)
        if answer.status_code in {httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY}:
            return answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
        raise self._asker.unexpected(answer, self._address, scope=_TO_READ)

    async def _may_read(self, url: str) -> bool:
        answer = await self._asker.get(url, headers=self._headers)
        if answer.status_code in {httpx.codes.OK, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND}:
            return answer.status_code == httpx.codes.OK
        raise self._asker.unexpected(answer, self._address, scope=_TO_READ)

    async def _ask(self, path: str) -> httpx.Response:
        return await self._asker.get(self._url + path, headers=self._headers)
