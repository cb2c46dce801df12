"""The project's own check, run on what the agent made when nothing of the agent's runs any more.

It is as little trusted as the agent: it runs what the repository holds. It finds neither the job's token nor the
gateway's address in its environment, and whatever it starts is dead when its result is told.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from sdlc_agents.kernel.clock import now
from sdlc_agents.runner.guard import Guard
from sdlc_agents.runs.protocol import TEXT_CHARACTERS, Check, CheckRequest

_CHUNK = 64 * 1024
_DRAIN_SECONDS = 5.0
_HEAD_BYTES = 4 * 1024
_TAIL_BYTES = 11 * 1024
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]"
)


class KeptOutput:
    """The beginning and the end of an output of any size."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        """Take what comes next."""
        room = _HEAD_BYTES - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        over = len(self._tail) - _TAIL_BYTES
        if over > 0:
            self._dropped += over
            del self._tail[:over]

    def text(self) -> str:
        """As text, without colours and other control characters."""
        note = f"\n[… {self._dropped} bytes left out …]\n".encode() if self._dropped else b""
        return _CONTROL.sub("", bytes(self._head + note + self._tail).decode(errors="replace"))[:TEXT_CHARACTERS]


@dataclass(frozen=True)
class ProjectCheck:
    """The check in its place. `seconds` is what is left of the job."""

    request: CheckRequest
    repository: Path
    environment: dict[str, str]
    guard: Guard

    async def run(self, number: int, seconds: float) -> Check:
        """Run it as round `number`; a check that cannot be run has failed."""
        allowed = max(1.0, min(self.request.timeout_seconds, seconds))
        kept = KeptOutput()
        status: int | None = None
        began = time.monotonic()
        async with self.guard.phase(allowed):
            try:
                status = await self._run(kept)
            except OSError as error:
                kept.add(f"the check could not be run: {error}\n".encode())
        reason = self.guard.reason
        if reason is not None:
            status = None
            kept.add(f"\n[{self._stopped(allowed)}]\n".encode())
        return Check(
            at=now(),
            round=number,
            command=self.request.command,
            passed=status == 0,
            exit_status=status,
            timed_out=reason == "time_limit",
            seconds=time.monotonic() - began,
            output=kept.text(),
        )

    async def _run(self, kept: KeptOutput) -> int:
        # The output has a pipe of our own: what the check leaves running may hold it open without our waiting for it.
        ours, theirs = os.pipe()
        with os.fdopen(ours, "rb") as pipe:
            try:
                process = await asyncio.create_subprocess_exec(
                    "/bin/sh",
                    "-c",
                    self.request.command,
                    cwd=self.repository,
                    env=self.environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=theirs,
                    stderr=theirs,
                    start_new_session=True,
                )
            finally:
                os.close(theirs)
            stream = asyncio.StreamReader()
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), pipe
            )
            reading = asyncio.create_task(_keep(stream, kept))
            try:
                status = await process.wait()
                # With all writers dead, the pipe ends; where one cannot be killed, what it holds is not waited for.
                await self.guard.kill()
                await asyncio.wait({reading}, timeout=_DRAIN_SECONDS)
            finally:
                reading.cancel()
                transport.close()
        return status

    def _stopped(self, seconds: float) -> str:
        if self.guard.reason == "time_limit":
            return f"the check did not end within {seconds:.0f} seconds and was stopped"
        return (self.guard.reason and self.guard.limits.explain(self.guard.reason)) or "the check was stopped"


async def _keep(stream: asyncio.StreamReader, kept: KeptOutput) -> None:
    while chunk := await stream.read(_CHUNK):
        kept.add(chunk)
