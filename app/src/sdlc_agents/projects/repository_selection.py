"""Which of a project's repositories a ticket is about."""

from collections.abc import Sequence
from typing import Any

from sdlc_agents.developments.model import RunFailedError

Repository = dict[str, Any]


def choose_repository(repositories: Sequence[Repository], components: Sequence[dict[str, str]]) -> Repository:
    """The repository that a component's name or description names (by id or URL), or the project's only one.

    Raises `RunFailedError`, listing the candidates, when none or several fit.
    """
    named = [repository for repository in repositories if any(_names(part, repository) for part in components)]
    if len(named) == 1:
        return named[0]
    if not named and len(repositories) == 1:
        return repositories[0]
    candidates = ", ".join(f"{entry['repository_id']} ({entry['url']})" for entry in named or repositories)
    reason = "its components name several repositories" if named else "no component of it names a repository"
    raise RunFailedError(
        f"which repository is this ticket about? {reason}: set one component to one of {candidates}, "
        "then move the ticket to the trigger status again",
        outcome="repository_ambiguous",
    )


def find_repository(repositories: Sequence[Repository], url: str | None) -> Repository:
    """The repository with this URL, where a pull request was opened; `RunFailedError` when the project lost it."""
    for repository in repositories:
        if _plain(repository["url"]) == _plain(url or ""):
            return repository
    raise RunFailedError(
        f"the project has no repository {url} any more: add it again, or ask for the changes elsewhere",
        outcome="repository_removed",
    )


def _names(component: dict[str, str], repository: Repository) -> bool:
    words = {_plain(part) for part in (component.get("name") or "", *(component.get("description") or "").split())}
    words.add(_plain(component.get("description") or ""))
    return not words.isdisjoint({_plain(repository["repository_id"]), _plain(repository["url"])})


def _plain(text: str) -> str:
    return text.strip().rstrip("/").removesuffix(".git").casefold() or "\0"
