"""Git LFS: the files behind a commit's pointers, by the batch API, each checked against its pointer.

https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md and docs/api/batch.md, transfer `basic`. The server is always
the repository's own (`.lfsconfig` is the repository's word, and could send the token anywhere).
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import BaseModel, Field, ValidationError

from sdlc_agents.consumer.checkout.remote import Remote
from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.git.command import Credentials, Git
from sdlc_agents.git.trees import TreeEntry

_POINTER = re.compile(
    r"^([0-9a-f]{40}|[0-9a-f]{64}) blob \d+\n"
    r"(version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n)$",
    re.MULTILINE,
)
_POINTER_BYTES = range(120, 200)
_SHA1_LENGTH = 40
_MEDIA = "application/vnd.git-lfs+json"
_BATCH = 100
_LIST_BYTES = 64 * 1024 * 1024
_HOP = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass(frozen=True)
class Pointer:
    """A file that the repository holds as a pointer."""

    path: str
    mode: str
    oid: str
    size: int


class _Link(BaseModel):
    href: Annotated[str, Field(max_length=8192)]
    header: dict[str, str] = {}


class _Object(BaseModel):
    oid: str
    actions: dict[str, _Link] = {}
    error: dict[str, Any] | None = None


class _Batch(BaseModel):
    transfer: str = "basic"
    objects: list[_Object]


async def find_pointers(git: Git, entries: Sequence[TreeEntry]) -> list[Pointer]:
    """The pointers among a tree's files."""
    small = [entry for entry in entries if entry.size in _POINTER_BYTES and entry.mode in {"100644", "100755"}]
    names = "".join(f"{name}\n" for name in {entry.name for entry in small})
    listing = await git.run("cat-file", "--batch", stdin=names.encode(), seconds=300, limit=_LIST_BYTES)
    found = {
        match[1]: (match[3], int(match[4])) for match in _POINTER.finditer(listing) if _is_blob(match[2], match[1])
    }
    return [Pointer(entry.path, entry.mode, *found[entry.name]) for entry in small if entry.name in found]


class LfsClient:
    """Downloads from the LFS server of one repository."""

    def __init__(self, remote: Remote, client: httpx.AsyncClient, *, max_bytes: int) -> None:
        self._remote = remote
        self._client = client
        self._max_bytes = max_bytes

    async def store(self, git: Git, pointers: Sequence[Pointer], directory: Path) -> dict[str, str]:
        """Put the contents into the repository; LFS's name of each to git's. Raises `RunFailedError`."""
        wanted = {pointer.oid: pointer.size for pointer in pointers}
        if sum(wanted.values()) > self._max_bytes:
            raise _failed(
                f"they take {sum(wanted.values()) // 1024**2 + 1} MiB, more than the {self._max_bytes // 1024**2} MiB "
                "that a run gets (app_lfs_max_mb)"
            )
        large = Git(git.directory, options=("core.bigFileThreshold=1m", "core.compression=0"))
        file, stored, oids = directory / "lfs", {}, list(wanted)
        for start in range(0, len(oids), _BATCH):
            part = {oid: wanted[oid] for oid in oids[start : start + _BATCH]}
            for oid, link in (await self._ask(part)).items():
                await self._download(link, oid, wanted[oid], file)
                stored[oid] = (await large.run("hash-object", "-w", "--no-filters", str(file), seconds=300)).strip()
        file.unlink(missing_ok=True)
        return stored

    async def _ask(self, wanted: Mapping[str, int]) -> dict[str, _Link]:
        request = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": oid, "size": size} for oid, size in wanted.items()],
        }
        url = f"{self._remote.url}/info/lfs/objects/batch"
        headers = {"Accept": _MEDIA, "Content-Type": _MEDIA, **self._authorization()}
        try:
            response = await self._client.post(url, json=request, headers=headers)
        except httpx.HTTPError as error:
            raise _failed(f"{url} does not answer: {type(error).__name__}") from error
        if response.status_code != httpx.codes.OK:
            raise _failed(f"{url} answers with status {response.status_code}")
        try:
            batch = _Batch.model_validate_json(response.content)
        except ValidationError as error:
            raise _failed(f"{url} answers with something that is no batch") from error
        links = {}
        for item in batch.objects:
            if item.oid in wanted and item.error is None and "download" in item.actions and batch.transfer == "basic":
                links[item.oid] = item.actions["download"]
        if missing := wanted.keys() - links.keys():
            raise _failed(f"{self._remote.url} does not hand out {len(missing)} of them, such as {min(missing)}")
        return links

    async def _download(self, link: _Link, oid: str, size: int, file: Path) -> None:
        url, headers = self._where(link)
        digest, received = hashlib.sha256(), 0
        try:
            async with self._client.stream("GET", url, headers={"Accept-Encoding": "identity", **headers}) as response:
                if response.status_code != httpx.codes.OK:
                    raise _failed(f"{urlsplit(url).netloc} answers with status {response.status_code} for {oid}")
                with file.open("wb") as output:
                    async for chunk in response.aiter_bytes():
                        received += len(chunk)
                        if received > size:
                            break
                        digest.update(chunk)
                        output.write(chunk)
        except httpx.HTTPError as error:
            raise _failed(f"{urlsplit(url).netloc} broke off: {type(error).__name__}") from error
        except OSError as error:
            raise _failed(f"they do not fit into the consumer's workspace: {error.strerror}") from error
        if received != size or digest.hexdigest() != oid:
            raise _failed(f"what {urlsplit(url).netloc} sent for {oid} is not what the pointer says")

    def _where(self, link: _Link) -> tuple[str, dict[str, str]]:
        """Address and headers. The token goes to the forge's own origin alone, and never in the clear."""
        ours, theirs = urlsplit(self._remote.url), urlsplit(link.href)
        headers = {name: value for name, value in link.header.items() if name.casefold() not in _HOP}
        if theirs.netloc == ours.netloc:
            named = {name.casefold() for name in headers}
            return urlunsplit(theirs._replace(scheme=ours.scheme)), (
                headers if "authorization" in named else headers | self._authorization()
            )
        if theirs.scheme != "https" or "@" in theirs.netloc:
            raise _failed(f"the forge sends elsewhere for them, not by https: {theirs.scheme}://{theirs.hostname}")
        if any(_shows(self._remote.credentials, value) for value in (*headers.values(), link.href)):
            raise _failed(f"the forge would have its own token shown to {theirs.netloc}")
        return link.href, headers

    def _authorization(self) -> dict[str, str]:
        given = self._remote.credentials
        return {} if given is None else {"Authorization": f"Basic {_basic(given)}"}


def _basic(given: Credentials) -> str:
    return base64.b64encode(f"{given.username}:{given.secret}".encode()).decode()


def _shows(given: Credentials | None, text: str) -> bool:
    return given is not None and (given.secret in text or _basic(given) in text)


def _is_blob(text: str, name: str) -> bool:
    """Whether git calls this text so: a file could hold lines that look like another's."""
    content = text.encode()
    kind = hashlib.sha1 if len(name) == _SHA1_LENGTH else hashlib.sha256
    return kind(b"blob %d\0" % len(content) + content).hexdigest() == name


def _failed(message: str) -> RunFailedError:
    return RunFailedError(
        f"the repository's Git LFS files cannot be had: {message}. Put it right, or switch agent.lfs off for the "
        "project",
        outcome="lfs_failed",
    )
