"""Handing jobs to runners and hearing back. What a runner says is believed in shape only, and bounded."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import structlog
from pydantic import ValidationError

from sdlc_agents.developments.model import RunFailedError
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.waiting import to_the_end
from sdlc_agents.runs.protocol import EVENTS, HEARTBEAT_SECONDS, LINE_BYTES, Event, JobRequest, RunnerState

_TIMEOUT = httpx.Timeout(60, connect=2, read=HEARTBEAT_SECONDS * 3)
_ASK_AGAIN_SECONDS = 0.25
_STREAM_BYTES = 128 * 1024 * 1024
_DISCARD_SECONDS = 3.0
_STATE_SECONDS = 2.0
_STATE_BYTES = 4096
# httpx bounds the wait for each piece; a runner that sends a byte now and then must not hold a consumer for ever.
_HAND_OVER_SECONDS = 300.0
_COLLECT_SECONDS = 600.0
_BUSY = {409, 503}

log = structlog.get_logger()


class RunnerLostError(RunFailedError):
    """The runner broke off, or speaks nonsense."""

    def __init__(self, message: str) -> None:
        super().__init__(message, outcome="runner_lost")


class Runners:
    """The runners of this appliance. Close it when done."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)

    async def check(self) -> None:
        """Raise `UnavailableError` unless at least one runner answers: what `/ready` asks."""
        states = await asyncio.gather(*(self._state(url) for url in self._urls))
        if not any(states):
            raise UnavailableError("no runner answers")

    @asynccontextmanager
    async def start(self, job: JobRequest, bundle: Path, *, wait_seconds: float) -> AsyncIterator["RunningJob"]:
        """Hand the job to the first runner that is free, and stop it when the block is left.

        Raises `RunFailedError` when none is free for `wait_seconds`.
        """
        deadline = asyncio.get_running_loop().time() + wait_seconds
        while True:
            for url in random.sample(self._urls, len(self._urls)):
                response = await self._offer(url, job, bundle)
                if response is None:
                    continue
                running = RunningJob(self._client, url, job.job_id, response)
                try:
                    yield running
                finally:
                    await to_the_end(running.stop())
                return
            if asyncio.get_running_loop().time() > deadline:
                raise RunFailedError(
                    f"no agent runner became free within {wait_seconds:.0f} seconds", outcome="no_runner"
                )
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _state(self, url: str) -> str | None:
        content = bytearray()
        try:
            async with (
                asyncio.timeout(_STATE_SECONDS),
                self._client.stream("GET", f"{url}/v1/jobs", timeout=_STATE_SECONDS) as response,
            ):
                async for chunk in response.aiter_raw():
                    content += chunk
                    if len(content) > _STATE_BYTES:
                        return None
            return RunnerState.model_validate_json(bytes(content)).state
        except (httpx.HTTPError, TimeoutError, ValidationError):
            return None

    async def _offer(self, url: str, job: JobRequest, bundle: Path) -> httpx.Response | None:
        if await self._state(url) != "idle":
            return None
        with bundle.open("rb") as file:
            request = self._client.build_request(
                "POST",
                f"{url}/v1/jobs",
                data={"job": job.model_dump_json()},
                files={"bundle": ("bundle", file, "application/x-git-bundle")},
            )
            try:
                async with asyncio.timeout(_HAND_OVER_SECONDS):
                    response = await self._client.send(request, stream=True)
            except (httpx.HTTPError, TimeoutError) as error:
                log.info("runner_refused", url=url, error=repr(error))
                return None
        if response.status_code == httpx.codes.OK:
            return response
        await response.aclose()
        if response.status_code not in _BUSY:
            raise RunnerLostError(f"the runner refused the job with status {response.status_code}")
        return None


class RunningJob:
    """One job at a runner."""

    def __init__(self, client: httpx.AsyncClient, url: str, job_id: str, response: httpx.Response) -> None:
        self._client = client
        self._job = f"{url}/v1/jobs/{job_id}"
        self._response = response

    async def events(self) -> AsyncIterator[Event]:
        """The run's events. Raises `RunnerLostError` when they break off or make no sense."""
        pending = bytearray()
        total = 0
        try:
            async for chunk in self._response.aiter_raw():
                total += len(chunk)
                pending += chunk
                *lines, rest = bytes(pending).split(b"\n")
                pending = bytearray(rest)
                if total > _STREAM_BYTES or len(pending) > LINE_BYTES:
                    raise RunnerLostError("the agent's output was larger than is read")
                for line in lines:
                    if line:
                        yield EVENTS.validate_json(line)
        except httpx.HTTPError as error:
            raise RunnerLostError(f"the agent runner broke off: {type(error).__name__}") from error
        except ValidationError as error:
            raise RunnerLostError("the agent runner sent something that is no event") from error

    async def collect(self, path: Path, *, limit: int) -> bool:
        """Put the result's bundle at `path`; False when there is none. Raises `RunFailedError` past `limit` bytes."""
        size = 0
        try:
            async with (
                asyncio.timeout(_COLLECT_SECONDS),
                self._client.stream("GET", f"{self._job}/bundle") as response,
            ):
                if response.status_code == httpx.codes.NO_CONTENT:
                    return False
                if response.status_code != httpx.codes.OK:
                    raise RunnerLostError(f"the runner did not hand out the result: status {response.status_code}")
                with path.open("wb") as file:
                    async for chunk in response.aiter_raw():
                        size += len(chunk)
                        if size > limit:
                            raise RunFailedError(
                                f"the agent's result is larger than {limit // 1024**2} MiB", outcome="result_refused"
                            )
                        file.write(chunk)
        except (httpx.HTTPError, TimeoutError) as error:
            raise RunnerLostError(f"the result could not be fetched: {type(error).__name__}") from error
        return True

    async def stop(self) -> None:
        """Let the runner go; it kills what still runs."""
        with suppress(httpx.HTTPError, TimeoutError):
            async with (
                asyncio.timeout(_DISCARD_SECONDS),
                self._client.stream("DELETE", self._job, timeout=_DISCARD_SECONDS),
            ):
                pass
        await self._response.aclose()
