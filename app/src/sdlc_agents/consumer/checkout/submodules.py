"""A repository's submodules, as far as they are on its own forge.

Each is fetched at the commit that the repository records, with the same token. Submodules of submodules are not: a
nested one stays an empty directory. Any other address than one of the same origin is refused and never asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sdlc_agents.consumer.checkout.remote import Remote
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Git, GitError
from sdlc_agents.git.trees import GITLINK, TreeEntry

_MOST = 20
_PATH = re.compile(r"(/[A-Za-z0-9_~+-][A-Za-z0-9._~+-]*)+/?")


@dataclass(frozen=True)
class Submodule:
    """One, at `path`."""

    path: str
    url: str
    commit: str


async def find_submodules(git: Git, commit: str, entries: Sequence[TreeEntry], remote: Remote) -> list[Submodule]:
    """What the tree of this commit has. Raises `RunFailedError` for one that is not to be fetched, and says why."""
    links = {entry.path: entry.name for entry in entries if entry.mode == GITLINK}
    if not links:
        return []
    if len(links) > _MOST:
        raise _refused(f"it has {len(links)}, more than {_MOST}")
    try:
        listing = await git.run("config", "--blob", f"{commit}:.gitmodules", "--null", "--list")
    except GitError as error:
        raise _refused(f"its .gitmodules cannot be read: {error.message}") from error
    known: dict[str, dict[str, str]] = {}
    for setting in listing.split("\0"):
        key, _, value = setting.partition("\n")
        name, _, option = key.removeprefix("submodule.").rpartition(".")
        known.setdefault(name, {})[option] = value
    urls = {options["path"]: options.get("url", "") for options in known.values() if "path" in options}
    return [Submodule(path, resolve(urls.get(path, ""), remote.url, path), name) for path, name in links.items()]


def resolve(url: str, superproject: str, path: str) -> str:
    """The address of a submodule: relative ones (gitmodules(5)) by its superproject's. Raises `RunFailedError`."""
    base, relative = superproject.rstrip("/"), url
    while relative.startswith(("./", "../")):
        step, _, relative = relative.partition("/")
        base = base.rpartition("/")[0] if step == ".." else base
    absolute = url if relative == url else f"{base}/{relative}"
    ours = urlsplit(superproject)
    try:
        theirs = urlsplit(absolute)
        same = (theirs.scheme, theirs.hostname, theirs.port) == (ours.scheme, ours.hostname, ours.port)
    except ValueError:
        theirs, same = ours, False
    if not same or "@" in theirs.netloc:
        raise _refused(f"{path} is at {url[:200] or '(no address)'}, which is not on {ours.scheme}://{ours.netloc}")
    if theirs.query or theirs.fragment or not _PATH.fullmatch(theirs.path):
        raise _refused(f"the address of {path} ({url[:200]}) is no repository's")
    return absolute


async def fetch_submodule(submodule: Submodule, directory: Path, remote: Remote) -> None:
    """Its recorded commit into a bare repository of its own, without history. Raises `RunFailedError`."""
    await Git(directory.parent).run("init", "--quiet", "--bare", "--template=", directory.name)
    own = Remote(submodule.url, remote.credentials, remote.transport)
    try:
        await own.run(
            directory, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", own.url, submodule.commit
        )
    except GitError as error:
        raise _refused(f"{submodule.path} cannot be fetched from {submodule.url}: {error.message}") from error


def _refused(message: str) -> RunFailedError:
    return RunFailedError(
        f"the repository's submodules cannot be had: {message}. Correct it there, or switch agent.submodules off for "
        "the project",
        outcome="submodule_refused",
    )
