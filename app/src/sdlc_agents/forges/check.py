"""What the checks of all providers share: asking a forge, and what it means when that fails."""

import ssl
from dataclasses import dataclass, field
from typing import Any

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.calls import json_or_none, limited_until
from sdlc_agents.forges.model import Problem, ProblemCode

SECONDS = 10.0
_NO_PUSH = {401, 403, 404}


class FoundError(Exception):
    """The problem that makes all further questions idle."""

    def __init__(self, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, message)


@dataclass(frozen=True)
class Asker:
    """Asks a forge at `host` (`host[:port]`); raises `FoundError` when it cannot be asked."""

    host: str
    client: httpx.AsyncClient = field(repr=False)

    async def get(self, url: str, **given: Any) -> httpx.Response:
        """The answer, whatever it is. Redirects are not followed."""
        return await self.request("GET", url, **given)

    async def request(self, method: str, url: str, **given: Any) -> httpx.Response:
        """The answer, whatever it is, unless it says that a rate limit is used up. Redirects are not followed."""
        try:
            response = await self.client.request(method, url, timeout=SECONDS, follow_redirects=False, **given)
        except httpx.ProxyError as error:
            raise self._proxy_refused(error) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        until = limited_until(response)
        if until is not None:
            raise FoundError(
                ProblemCode.FORGE_FAILED,
                f"{self.host} takes no more requests of this git_access_token until {until:%Y-%m-%d %H:%M:%S} UTC: "
                "try again then",
            )
        return response

    async def may_push(self, address: RepositoryAddress, username: str, token: str) -> bool:
        """Whether `git push` would be let in: asks for the refs that git-receive-pack advertises.

        https://git-scm.com/docs/http-protocol#_smart_server_response
        """
        url = f"{address.clone_url}/info/refs?service=git-receive-pack"
        response = await self.get(url, auth=httpx.BasicAuth(username, token))
        if response.status_code == httpx.codes.OK or response.status_code in _NO_PUSH:
            return response.status_code == httpx.codes.OK
        raise self.unexpected(response, address, scope="")

    def unexpected(self, response: httpx.Response, address: RepositoryAddress, *, scope: str) -> FoundError:
        """What an answer means that no question hopes for; `scope` is what a token must have to read."""
        if response.status_code == httpx.codes.UNAUTHORIZED:
            return FoundError(
                ProblemCode.TOKEN_REFUSED,
                f"{self.host} does not accept git_access_token: it was revoked, has expired or is another forge's; "
                "make a new one",
            )
        if response.status_code == httpx.codes.FORBIDDEN:
            return FoundError(
                ProblemCode.NO_READ_RIGHT, f"git_access_token may not read {address.path}: give it {scope}"
            )
        if response.is_redirect:
            return FoundError(
                ProblemCode.REPOSITORY_NOT_FOUND, f"{address.path} has moved on {self.host}: set url to its new address"
            )
        return FoundError(
            ProblemCode.FORGE_FAILED, f"{self.host} answered {response.status_code}: try again, or look at its log"
        )

    def _proxy_refused(self, error: httpx.ProxyError) -> FoundError:
        if str(error).startswith("403"):
            return FoundError(
                ProblemCode.EGRESS_REFUSED,
                f"the egress proxy does not let {self.host} through: add it to the allow-list",
            )
        return FoundError(
            ProblemCode.FORGE_UNREACHABLE,
            f"the egress proxy does not reach {self.host} ({error}): is the address right, and the forge up?",
        )

    def _unreachable(self, error: httpx.HTTPError) -> FoundError:
        if _is_certificate_error(error):
            return FoundError(
                ProblemCode.CERTIFICATE_UNTRUSTED,
                f"the certificate of {self.host} is not trusted: add its authority to extra_trusted_ca_certificates",
            )
        return FoundError(
            ProblemCode.FORGE_UNREACHABLE,
            f"{self.host} does not answer ({type(error).__name__}): is the address right, and the forge up?",
        )


def missing_branch(address: RepositoryAddress, branch: str, *, empty: bool) -> Problem:
    """The problem of a repository that has no commit, or not this branch."""
    return Problem(
        ProblemCode.BASE_BRANCH_MISSING,
        f"{address.path} has no commit yet: push a first one"
        if empty
        else f"{address.path} has no branch {branch}: set base_branch to one that exists",
    )


def archived(address: RepositoryAddress) -> Problem:
    """The problem of a repository that takes no changes."""
    return Problem(ProblemCode.ARCHIVED, f"{address.path} is archived and takes no changes: un-archive it")


def unheard(address: RepositoryAddress, what_to_do: str) -> Problem:
    """The problem of a token that cannot take part in what is said on pull requests."""
    return Problem(
        ProblemCode.NO_REVIEW_RIGHT,
        f"git_access_token may not read what reviewers say in {address.path}: {what_to_do}, or empty the project's "
        "pull_requests.follow_up_by",
    )


def json_object(response: httpx.Response) -> dict[str, Any] | None:
    """The answer's document; None unless it is a JSON object."""
    document = json_or_none(response)
    return document if isinstance(document, dict) else None


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
