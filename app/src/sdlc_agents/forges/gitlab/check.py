"""Whether a token opens a project on GitLab for what the agents do there, asked without writing anything.

A token tells its own scopes (https://docs.gitlab.com/api/personal_access_tokens/#self-inform), and the check begins as
`git push` does (`Asker.may_push`). The role of its owner is in the project's permissions, where GitLab shows it.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.calls import Api, json_or_none
from sdlc_agents.forges.check import Asker, FoundError, archived, json_object, missing_branch, unheard
from sdlc_agents.forges.model import Problem, ProblemCode

_DEVELOPER = 30
_SCOPE = "the scope api"


async def check(
    api: Api,
    project: str,
    address: RepositoryAddress,
    login: tuple[str, str],
    base_branch: str | None,
    *,
    follow_ups: bool = False,
) -> list[Problem]:
    """What stands in the way; empty when nothing does. `base_branch` None means the project's default branch.

    `project` is its path in the API (`/projects/group%2Fname`), `login` what git is to say. With `follow_ups` also what
    stands in the way of reading what reviewers say.
    """
    asked = _Check(api, project, address, login)
    try:
        problems = await asked.run(base_branch)
        return [*problems, *await asked.reviews(problems)] if follow_ups else problems
    except FoundError as found:
        return [found.problem]


class _Check:
    def __init__(self, api: Api, project: str, address: RepositoryAddress, login: tuple[str, str]) -> None:
        self._api = api
        self._project = project
        self._address = address
        self._login = login
        self._asker = Asker(address.host, api.client)

    async def run(self, base_branch: str | None) -> list[Problem]:
        project = await self._read_project()
        problems = self._state(project)
        scopes = await self._scopes()
        role = _role(project)
        if scopes is not None and "api" not in scopes:
            problems.append(
                Problem(
                    ProblemCode.NO_PULL_REQUEST_RIGHT,
                    f"git_access_token may not open merge requests in {self._address.path}: give the token the scope "
                    "api",
                )
            )
        if role is not None and role < _DEVELOPER:
            problems.append(self._no_push("give its owner the role Developer there"))
        elif not await self._asker.may_push(self._address, *self._login):
            problems.append(
                self._no_push("give the token the scope write_repository, and its owner the role Developer there")
            )
        branch = base_branch or project.get("default_branch") or ""
        empty = bool(project.get("empty_repo"))
        if empty or not await self._has_branch(branch):
            problems.append(missing_branch(self._address, branch, empty=empty))
        return problems

    async def reviews(self, found: list[Problem]) -> list[Problem]:
        """Whether the token may read notes, and whose it is; not asked where there are no merge requests."""
        if any(problem.code is ProblemCode.PULL_REQUESTS_OFF for problem in found):
            return []
        if await self._may_read_notes() and await self._read("/user") is not None:
            return []
        return [unheard(self._address, "give it the scope api, and its owner the role Developer there")]

    async def _may_read_notes(self) -> bool:
        """Notes have no list of their own: those of any merge request are asked for, where there is one."""
        path = f"{self._project}/merge_requests"
        answer = await self._read(f"{path}?per_page=1")
        if answer is None:
            return False
        shown = json_or_none(answer)
        if not isinstance(shown, list) or not shown:
            return True
        return await self._read(f"{path}/{shown[0]['iid']}/notes?per_page=1") is not None

    async def _read_project(self) -> dict[str, Any]:
        answer = await self._ask(self._project)
        if answer.status_code == httpx.codes.OK:
            document = json_object(answer)
            if document is not None and "path_with_namespace" in document:
                return document
            raise FoundError(
                ProblemCode.FORGE_UNSUPPORTED, f"{self._address.host} does not answer as GitLab does: is it one?"
            )
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise FoundError(
                ProblemCode.REPOSITORY_NOT_FOUND,
                f"{self._address.host} has no project {self._address.path}, or git_access_token's owner may not see "
                "it: compare the URL, and make the owner a member with the role Developer",
            )
        raise self._asker.unexpected(answer, self._address, scope=_SCOPE)

    def _state(self, project: Mapping[str, Any]) -> list[Problem]:
        problems = []
        if project.get("archived"):
            problems.append(archived(self._address))
        if project.get("merge_requests_access_level") == "disabled" or project.get("merge_requests_enabled") is False:
            problems.append(
                Problem(ProblemCode.PULL_REQUESTS_OFF, f"merge requests are off in {self._address.path}: turn them on")
            )
        return problems

    async def _scopes(self) -> list[str] | None:
        """None when the token is of a kind that does not tell: of a deployment, OAuth, or on an old GitLab."""
        answer = await self._ask("/personal_access_tokens/self")
        document = json_object(answer) if answer.status_code == httpx.codes.OK else None
        return None if document is None else document.get("scopes")

    def _no_push(self, what_to_do: str) -> Problem:
        return Problem(
            ProblemCode.NO_PUSH_RIGHT, f"git_access_token may not push to {self._address.path}: {what_to_do}"
        )

    async def _has_branch(self, branch: str) -> bool:
        answer = await self._ask(f"{self._project}/repository/branches/{quote(branch, safe='')}")
        if answer.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            return answer.status_code == httpx.codes.OK
        raise self._asker.unexpected(answer, self._address, scope=_SCOPE)

    async def _read(self, path: str) -> httpx.Response | None:
        """None when the token may not."""
        answer = await self._ask(path)
        if answer.status_code in {httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND}:
            return None
        if answer.status_code != httpx.codes.OK:
            raise self._asker.unexpected(answer, self._address, scope=_SCOPE)
        return answer

    async def _ask(self, path: str) -> httpx.Response:
        return await self._asker.get(self._api.url + path, headers=dict(self._api.headers))


def _role(project: Mapping[str, Any]) -> int | None:
    """The level of the owner's role; None when GitLab does not show it (an administrator, a group that was invited)."""
    permissions = project.get("permissions") or {}
    shown = [permissions.get("project_access"), permissions.get("group_access")]
    return max((access["access_level"] for access in shown if access), default=None)
