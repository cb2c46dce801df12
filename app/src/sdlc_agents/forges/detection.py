"""Which software a forge runs, told by its host or by asking it, without a token.

- GitLab answers `/api/v4/version` with 401 and JSON: https://docs.gitlab.com/api/version/
- GitHub Enterprise Server says its version in a header of `/api/v3/meta`: https://docs.github.com/rest/meta/meta
- Gitea and Forgejo tell their version at `/api/v1/version`: https://docs.gitea.com/api/
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx

from sdlc_agents.forges.addresses import RepositoryAddress
from sdlc_agents.forges.check import Asker, FoundError, json_object
from sdlc_agents.forges.model import ForgeError, ForgeKind, ForgeUnavailableError, ProblemCode

_UNSUPPORTED = {"bitbucket.org": "Bitbucket", "dev.azure.com": "Azure DevOps"}
_LABELS = {
    "github": ForgeKind.GITHUB,
    "gitlab": ForgeKind.GITLAB,
    "gitea": ForgeKind.GITEA,
    "forgejo": ForgeKind.GITEA,
    "codeberg": ForgeKind.GITEA,
}
_PASSING = {ProblemCode.FORGE_UNREACHABLE, ProblemCode.FORGE_FAILED}

_found: WeakKeyDictionary[httpx.AsyncClient, dict[str, ForgeKind]] = WeakKeyDictionary()
"""What forges were found to be, by their base: a process has one client for them, and asks each forge once."""


@dataclass(frozen=True)
class _Candidate:
    kind: ForgeKind
    address: RepositoryAddress


async def detect(url: str, client: httpx.AsyncClient) -> tuple[ForgeKind, RepositoryAddress]:
    """The kind of forge behind a repository's URL, and the address taken apart as it must be there.

    Raises `ForgeUnavailableError` when the forge cannot be asked now, `ForgeError` when nothing answers that is known.
    """
    host = (urlsplit(url).hostname or "").lower()
    if host in _UNSUPPORTED:
        raise ForgeError(
            f"repositories on {_UNSUPPORTED[host]} ({host}) are not supported: the agents work on GitHub, GitLab, "
            "Gitea and Forgejo",
            problem=ProblemCode.FORGE_UNSUPPORTED,
        )
    if host == "github.com" or host.endswith(".ghe.com"):
        return ForgeKind.GITHUB, address_at(ForgeKind.GITHUB, url)
    if host == "gitlab.com":
        return ForgeKind.GITLAB, address_at(ForgeKind.GITLAB, url)
    known = _found.setdefault(client, {})
    candidates = _candidates(url, host)
    chosen = next((place for place in candidates if known.get(place.address.base) is place.kind), None)
    if chosen is None:
        chosen = await _ask(candidates, Asker(urlsplit(url).netloc, client))
    if chosen is not None:
        known[chosen.address.base] = chosen.kind
        return chosen.kind, chosen.address
    raise ForgeError(
        f"{host} answers neither as GitHub nor as GitLab, Gitea or Forgejo does: set forge on the repository if it is "
        "one of them",
        problem=ProblemCode.FORGE_UNSUPPORTED,
    )


def address_at(kind: ForgeKind, url: str) -> RepositoryAddress:
    """A repository's address on a forge of this kind, when nothing else is known.

    On GitLab the whole path is the project's, on the others what comes before owner and name is the forge's.
    """
    return RepositoryAddress.parse(url, prefix_steps=0 if kind is ForgeKind.GITLAB else None)


def _candidates(url: str, host: str) -> list[_Candidate]:
    """What the forge may be, the likeliest first: a name such as gitlab.example.org is a hint and no more."""
    plain = RepositoryAddress.parse(url)
    places = [
        _Candidate(ForgeKind.GITEA, plain),
        _Candidate(ForgeKind.GITLAB, address_at(ForgeKind.GITLAB, url)),
    ]
    if plain.base == plain.origin:
        places.append(_Candidate(ForgeKind.GITHUB, plain))
    else:
        places.append(_Candidate(ForgeKind.GITLAB, RepositoryAddress.parse(url, prefix_steps=1)))
    hinted = {_LABELS[label] for label in host.split(".") if label in _LABELS}
    return sorted(places, key=lambda place: place.kind not in hinted)


async def _ask(candidates: list[_Candidate], asker: Asker) -> _Candidate | None:
    """The first candidate whose question is answered as it should be; a fault counts only when none is."""
    fault: httpx.Response | None = None
    try:
        for candidate in candidates:
            path, is_it = _PROBES[candidate.kind]
            answer = await asker.get(candidate.address.base + path)
            if is_it(answer):
                return candidate
            fault = answer if answer.is_server_error else fault
        if fault is not None:
            raise asker.unexpected(fault, candidates[0].address, scope="")
    except FoundError as found:
        kind = ForgeUnavailableError if found.problem.code in _PASSING else ForgeError
        raise kind(found.problem.message, problem=found.problem.code) from found
    return None


def _is_gitea(answer: httpx.Response) -> bool:
    """Also one that shows nothing to strangers (REQUIRE_SIGNIN_VIEW)."""
    document = json_object(answer) or {}
    if answer.status_code == httpx.codes.OK:
        return isinstance(document.get("version"), str)
    return answer.status_code in {401, 403} and "signed in user" in str(document.get("message"))


def _is_gitlab(answer: httpx.Response) -> bool:
    document = json_object(answer) or {}
    return answer.status_code == httpx.codes.UNAUTHORIZED and document.get("message") == "401 Unauthorized"


def _is_github(answer: httpx.Response) -> bool:
    """Also one in private mode, which answers strangers with 401."""
    return "x-github-enterprise-version" in answer.headers or "installed_version" in (json_object(answer) or {})


_PROBES: dict[ForgeKind, tuple[str, Callable[[httpx.Response], bool]]] = {
    ForgeKind.GITEA: ("/api/v1/version", _is_gitea),
    ForgeKind.GITLAB: ("/api/v4/version", _is_gitlab),
    ForgeKind.GITHUB: ("/api/v3/meta", _is_github),
}
