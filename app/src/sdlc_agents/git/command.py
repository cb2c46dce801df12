"""Running git on repositories that nobody here trusts.

Every call starts from an empty environment and no configuration but what stands here: no hooks, no credential helper,
no submodules, no file system monitor, only the listed protocols. Secrets go to git by the environment of the one call
that needs them (see `Credentials`), never by an argument or an address.
"""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.processes import group_lives

ASKPASS = Path(__file__).with_name("askpass.sh")
OUTPUT_BYTES = 8 * 1024 * 1024
_ERROR_CHARACTERS = 2000
_DEATH_SECONDS = 3.0

_SAFE_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.pager=cat",
    "credential.helper=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "http.followRedirects=initial",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "advice.detachedHead=false",
)

log = structlog.get_logger()


class GitError(ServiceError):
    """git ended with an error, took too long, or wrote more than is read. The message carries what git said."""

    code = "git_failed"


@dataclass(frozen=True)
class Credentials:
    """What a forge asks for over HTTPS. `origin` (`https://host[:port]`) is the only place they are given to."""

    origin: str
    username: str
    secret: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables that make git ask `askpass.sh`, which answers for this origin alone."""
        parts = urlsplit(self.origin)
        return {
            "GIT_ASKPASS": str(ASKPASS),
            "SDLC_GIT_ORIGIN": f"{parts.scheme}://{self.username}@{parts.netloc}",
            "SDLC_GIT_SECRET": self.secret,
        }


@dataclass(frozen=True)
class Git:
    """git in one directory.

    `protocols` are the transports it may use, `options` further `-c name=value` pairs, `prefix` a command that runs
    it (`prlimit …`).
    """

    directory: Path
    protocols: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    async def run(
        self,
        *arguments: str,
        seconds: float = 60,
        credentials: Credentials | None = None,
        stdin: bytes | None = None,
        accept: tuple[int, ...] = (0,),
        limit: int = OUTPUT_BYTES,
    ) -> str:
        """What the command wrote to standard output.

        Raises `GitError` when its status is not in `accept`, after `seconds`, or past `limit` bytes of output. The
        command and all that it started are dead when this returns or raises.
        """
        options = [*_SAFE_OPTIONS, *self.options]
        if credentials is not None:
            options.append(f"credential.username={credentials.username}")
        command = [*self.prefix, "git", *(part for option in options for part in ("-c", option)), *arguments]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.directory,
            env=self._environment(credentials),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        name = arguments[0]
        try:
            async with asyncio.timeout(seconds):
                _, output, errors = await asyncio.gather(
                    _write(process, stdin),
                    _read(process.stdout, limit, name),
                    _read(process.stderr, OUTPUT_BYTES, name),
                )
                status = await process.wait()
        except TimeoutError as error:
            raise GitError(f"git {name} took longer than {seconds:.0f} s") from error
        finally:
            await _end_group(process)
        if status not in accept:
            reason = errors.decode(errors="replace").strip()[-_ERROR_CHARACTERS:]
            raise GitError(f"git {name} failed: {reason or f'status {status}'}")
        return output.decode(errors="replace")

    def _environment(self, credentials: Credentials | None) -> dict[str, str]:
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": ":".join(self.protocols) or "none",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_NO_LAZY_FETCH": "1",
            **self.environment,
        }
        return environment if credentials is None else environment | credentials.environment()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the command's process group, and see it dead.

    What a signal has reached may live on for a moment, and write once more.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        await process.wait()
        return
    await process.wait()
    deadline = time.monotonic() + _DEATH_SECONDS
    while group_lives(process.pid):
        if time.monotonic() > deadline:  # one that the kernel cannot end: a file system that does not answer
            log.error("git_survives", group=process.pid)
            return
        await asyncio.sleep(0.01)


async def _write(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if data is None or process.stdin is None:
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader | None, limit: int, name: str) -> bytes:
    content = bytearray()
    while stream is not None and (chunk := await stream.read(65536)):
        content += chunk
        if len(content) > limit:
            raise GitError(f"git {name} wrote more than {limit} bytes")
    return bytes(content)
