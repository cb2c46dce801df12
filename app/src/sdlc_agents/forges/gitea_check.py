"""Whether a token opens a repository on Gitea for what the agents do there, asked without writing anything.

The repository, its owner's permissions and its base branch are asked for by API v1 (https://docs.gitea.com/api/). What
the token itself may do, the API does not say: so the check begins as `git push` does, by asking for the refs that
git-receive-pack advertises, which Gitea refuses to a token without the scope write:repository
(https://git-scm.com/docs/http-protocol#_smart_server_response).
"""

import ssl
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.model import Problem, ProblemCode

SECONDS = 10.0
_NO_PUSH = {401, 403, 404}


class _FoundError(Exception):
    """The problem that makes all further questions idle."""

    def __init__(self, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


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
    except _FoundError as found:
        return [found.problem]


class _Check:
    def __init__(self, address: RepositoryAddress, username: str, token: str, client: httpx.AsyncClient) -> None:
        self._address = address
        self._authorization = {"Authorization": f"token {token}"}
        self._login = (username, token)
        self._client = client
        self._name = f"{address.owner}/{address.name}"
        self._host = urlsplit(address.base).netloc

    async def run(self, base_branch: str | None) -> list[Problem]:
        repository = await self._repository()
        problems = self._state(repository)
        if not (repository["permissions"].get("push") and await self._token_may_push()):
            problems.append(
                Problem(
                    ProblemCode.NO_PUSH_RIGHT,
                    f"git_access_token may not push to {self._name}: give its owner write permission there, and the "
                    "token the scope write:repository",
                )
            )
        branch = base_branch or repository.get("default_branch") or ""
        if repository.get("empty") or not await self._has_branch(branch):
            problems.append(
                Problem(
                    ProblemCode.BASE_BRANCH_MISSING,
                    f"{self._name} has no commit yet: push a first one"
                    if repository.get("empty")
                    else f"{self._name} has no branch {branch}: set base_branch to one that exists",
                )
            )
        return problems

    async def reviews(self) -> list[Problem]:
        """Whether the token may read comments, and whose it is."""
        missing = []
        if (await self._api("/issues/comments?limit=1")).status_code == httpx.codes.FORBIDDEN:
            missing.append("read:issue")
        response = await self._get(f"{self._address.base}/api/v1/user", headers=self._authorization)
        if response.status_code == httpx.codes.FORBIDDEN:
            missing.append("read:user")
        if not missing:
            return []
        scopes = " and ".join(missing)
        message = (
            f"git_access_token may not read what reviewers say in {self._name}: give it the scope {scopes} as well, or "
            "empty the project's pull_requests.follow_up_by"
        )
        return [Problem(ProblemCode.NO_REVIEW_RIGHT, message)]

    async def _repository(self) -> dict[str, Any]:
        response = await self._api("")
        if response.status_code == httpx.codes.OK:
            try:
                document = response.json()
            except ValueError:
                document = None
            if isinstance(document, dict) and isinstance(document.get("permissions"), dict):
                return document
            raise _FoundError(
                ProblemCode.FORGE_UNSUPPORTED, f"{self._host} does not answer as a Gitea or Forgejo does: is it one?"
            )
        if response.status_code == httpx.codes.NOT_FOUND:
            raise _FoundError(
                ProblemCode.REPOSITORY_NOT_FOUND,
                f"{self._host} has no repository {self._name}, or git_access_token's owner may not see it: compare the "
                "URL, and make the owner a collaborator with write permission",
            )
        raise self._unexpected(response)

    def _state(self, repository: dict[str, Any]) -> list[Problem]:
        problems = []
        if repository.get("archived"):
            problems.append(
                Problem(ProblemCode.ARCHIVED, f"{self._name} is archived and takes no changes: un-archive it")
            )
        if repository.get("has_pull_requests") is False:
            problems.append(
                Problem(ProblemCode.PULL_REQUESTS_OFF, f"pull requests are off in {self._name}: turn them on")
            )
        return problems

    async def _token_may_push(self) -> bool:
        url = f"{self._address.clone_url}/info/refs?service=git-receive-pack"
        response = await self._get(url, auth=httpx.BasicAuth(*self._login))
        if response.status_code == httpx.codes.OK or response.status_code in _NO_PUSH:
            return response.status_code == httpx.codes.OK
        raise self._unexpected(response)

    async def _has_branch(self, branch: str) -> bool:
        response = await self._api(f"/branches/{quote(branch, safe='')}")
        if response.status_code in {httpx.codes.OK, httpx.codes.NOT_FOUND}:
            return response.status_code == httpx.codes.OK
        raise self._unexpected(response)

    async def _api(self, path: str) -> httpx.Response:
        address = self._address
        owner, name = quote(address.owner, safe=""), quote(address.name, safe="")
        return await self._get(f"{address.base}/api/v1/repos/{owner}/{name}{path}", headers=self._authorization)

    async def _get(self, url: str, **given: Any) -> httpx.Response:
        try:
            return await self._client.get(url, timeout=SECONDS, follow_redirects=False, **given)
        except httpx.ProxyError as error:
            raise self._proxy_refused(error) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _proxy_refused(self, error: httpx.ProxyError) -> _FoundError:
        if str(error).startswith("403"):
            return _FoundError(
                ProblemCode.EGRESS_REFUSED,
                f"the egress proxy does not let {self._host} through: add it to the allow-list",
            )
        return _FoundError(
            ProblemCode.FORGE_UNREACHABLE,
            f"the egress proxy does not reach {self._host} ({error}): is the address right, and the forge up?",
        )

    def _unreachable(self, error: httpx.HTTPError) -> _FoundError:
        if _is_certificate_error(error):
            return _FoundError(
                ProblemCode.CERTIFICATE_UNTRUSTED,
                f"the certificate of {self._host} is not trusted: add its authority to extra_trusted_ca_certificates",
            )
        return _FoundError(
            ProblemCode.FORGE_UNREACHABLE,
            f"{self._host} does not answer ({type(error).__name__}): is the address right, and the forge up?",
        )

    def _unexpected(self, response: httpx.Response) -> _FoundError:
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return _FoundError(
                ProblemCode.TOKEN_REFUSED,
                f"{self._host} does not accept git_access_token: it was revoked, has expired or is another forge's; "
                "make a new one",
            )
        if response.status_code == httpx.codes.FORBIDDEN:
            return _FoundError(
                ProblemCode.NO_READ_RIGHT,
                f"git_access_token may not read {self._name}: give it the scope write:repository",
            )
        if response.is_redirect:
            return _FoundError(
                ProblemCode.REPOSITORY_NOT_FOUND, f"{self._name} has moved on {self._host}: set url to its new address"
            )
        return _FoundError(
            ProblemCode.FORGE_FAILED, f"{self._host} answered {response.status_code}: try again, or look at its log"
        )


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
