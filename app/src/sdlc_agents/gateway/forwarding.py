"""One request through the gateway: token, budget, policy, out, back, counted."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import httpcore
import stamina
import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sdlc_agents.gateway.bodies import SMALL_BYTES, Body, Room
from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.ledger import Ledger
from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.policy import Ask, Policy
from sdlc_agents.gateway.pricing import cost
from sdlc_agents.gateway.repository import Answer, Job, LedgerEntry
from sdlc_agents.gateway.upstream import FAILURES, Upstream, UpstreamAnswer
from sdlc_agents.gateway.usage import UsageMeter
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import UnavailableError

_OK = 200
_WHOLE_BYTES = 32 * 1024 * 1024
_SECONDS_TO_READ = 600.0
_SECONDS_TO_STORE = 60.0
# Together they fit into what is left of the container's time to stop after the server's own.
_LAST_SECONDS_TO_READ = 2.0
_LAST_SECONDS_TO_END = 1.0
_LAST_SECONDS_TO_STORE = 2.0

log = structlog.get_logger()


@dataclass(frozen=True)
class _Exchange:
    """A request that may go out; `meter` is None when it costs nothing."""

    job: Job
    ask: Ask
    meter: UsageMeter | None

    def lost(self) -> None:
        """Nobody will know what the API still wrote."""
        if self.meter is not None:
            self.meter.lost(self.ask.max_tokens)


class Gateway:
    """Forwards requests of jobs. `job_requests` bounds what one job can have under way, and so its overspending."""

    def __init__(
        self, ledger: Ledger, upstream: Upstream, policy: Policy, metrics: GatewayMetrics, *, job_requests: int
    ) -> None:
        self._ledger = ledger
        self._upstream = upstream
        self._policy = policy
        self._metrics = metrics
        self._job_requests = job_requests
        self._room = Room()
        # One large body at a time is taken apart: its parts need several times its size.
        self._examining = asyncio.Lock()
        self._under_way: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._idle.set()
        self._reading: set[asyncio.Task[_Whole]] = set()
        self._storing: set[asyncio.Task[None]] = set()

    async def forward(self, request: Request, path: str, *, counted: bool) -> StreamingResponse:
        """The API's answer as it comes. Raises `GatewayError`; `counted` False for what costs nothing."""
        try:
            began = time.perf_counter()
            # Nothing more of the body is read before: whoever has no token shall not fill the memory.
            job = await self._authenticate(_token(request))
            seconds = time.perf_counter() - began
            structlog.contextvars.bind_contextvars(job_id=job.job_id, development_id=job.development_id)
            self._enter(job)
            try:
                return await self._exchange(job, request, path, counted=counted, seconds=seconds)
            except BaseException:
                self._leave(job)
                raise
        except GatewayError as error:
            self._metrics.refused(error.kind)
            log.info("request_refused", status=error.status, reason=error.message)
            raise

    async def close(self) -> None:
        """Finish counting. The server is closed: what it broke off is about to end, what is read for nobody must."""
        if self._reading:
            _, late = await asyncio.wait(self._reading, timeout=_LAST_SECONDS_TO_READ)
            for task in late:
                task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS_TO_END):
                await self._idle.wait()
        if self._storing:
            await asyncio.wait(self._storing, timeout=_LAST_SECONDS_TO_STORE)

    def ended(self, exchange: _Exchange) -> asyncio.Task[None] | None:
        """An answer is over: free its place and count what it used; the task ends when that is stored."""
        self._leave(exchange.job)
        return self._count(exchange)

    def _count(self, exchange: _Exchange) -> asyncio.Task[None] | None:
        if exchange.meter is None:
            return None
        tokens = exchange.meter.tokens()
        answer = Answer(uuid.uuid4().hex, tokens, cost(exchange.ask.price, tokens))
        self._metrics.used(exchange.ask.listed, tokens, answer.cost_usd)
        task = asyncio.create_task(self._store(self._ledger.expect(exchange.job, answer)), name="store")
        self._storing.add(task)
        task.add_done_callback(self._storing.discard)
        return task

    async def _authenticate(self, token: str) -> Job:
        try:
            job = await self._ledger.find(token)
            if job is None:
                raise GatewayError(401, "no job has this token")
            if job.expires_at <= now():
                raise GatewayError(403, "the job of this token is over")
            if job.spent:
                raise GatewayError(
                    402, f"the job has used {job.cost_usd:.4f} of its {job.max_cost_usd:.2f} USD: its budget is spent"
                )
            spent = await self._ledger.spent(job)
        except UnavailableError as error:
            raise GatewayError(503, error.message, retry_after=2) from error
        if spent is not None:
            budget, used = spent
            raise GatewayError(402, budget.message(used))
        return job

    def _enter(self, job: Job) -> None:
        if self._under_way[job.job_id] >= self._job_requests:
            raise GatewayError(429, f"the job has {self._job_requests} requests under way", retry_after=1)
        self._under_way[job.job_id] += 1
        self._idle.clear()

    def _leave(self, job: Job) -> None:
        self._under_way[job.job_id] -= 1
        if self._under_way[job.job_id] <= 0:
            del self._under_way[job.job_id]
        if not self._under_way:
            self._idle.set()

    async def _exchange(
        self, job: Job, request: Request, path: str, *, counted: bool, seconds: float
    ) -> StreamingResponse:
        with Body(self._room, job.job_id) as body:
            await body.read(request)
            received = time.perf_counter()
            ask = await self._examine(body)
            meter = UsageMeter(request_bytes=body.size, streaming=ask.streaming)
            exchange = _Exchange(job, ask, meter if counted else None)
            self._metrics.passed_on(seconds + time.perf_counter() - received)
            response = await self._send(path, request, body, exchange)
        self._metrics.answered(ask.listed, response.status)
        if response.status != _OK:
            exchange = _Exchange(job, ask, None)
        if exchange.meter is None or ask.streaming:
            return _Passing(self, exchange, response)
        reading = asyncio.create_task(self._read(exchange, exchange.meter, response), name="read")
        self._reading.add(reading)
        reading.add_done_callback(self._has_read)
        return _PassingWhole(reading, response)

    async def _examine(self, body: Body) -> Ask:
        if body.size <= SMALL_BYTES:
            return self._policy.examine(body.content)
        async with self._examining:
            return await asyncio.to_thread(self._policy.examine, body.content)

    async def _send(self, path: str, request: Request, body: Body, exchange: _Exchange) -> UpstreamAnswer:
        try:
            return await self._upstream.send(path, request.url.query, request.headers.items(), body)
        except BaseException as error:
            # What went out whole may have been read and answered.
            if body.sent:
                if isinstance(error, httpcore.TimeoutException | asyncio.CancelledError):
                    exchange.lost()
                self._count(exchange)
            if isinstance(error, httpcore.TimeoutException):
                raise GatewayError(504, "the model's API did not answer in time", retry_after=2) from error
            if isinstance(error, FAILURES):
                log.warning("upstream_unreachable", error=repr(error))
                raise GatewayError(502, "the model's API cannot be reached", retry_after=2) from error
            raise

    async def _read(self, exchange: _Exchange, meter: UsageMeter, response: UpstreamAnswer) -> "_Whole":
        try:
            async with asyncio.timeout(_SECONDS_TO_READ):
                content = await _content(response, meter)
        except BaseException:
            exchange.lost()
            raise
        finally:
            stored = self.ended(exchange)
            await response.close()
        return _Whole(content, stored)

    def _has_read(self, task: asyncio.Task["_Whole"]) -> None:
        self._reading.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.warning("answer_broken_off", error=repr(error))

    async def _store(self, entry: LedgerEntry) -> None:
        try:
            async for attempt in stamina.retry_context(on=UnavailableError, attempts=None, timeout=_SECONDS_TO_STORE):
                with attempt:
                    await self._ledger.store(entry)
        except Exception as error:
            self._ledger.forget(entry)
            self._metrics.uncounted()
            answer = entry.answer
            log.error(  # noqa: TRY400
                "usage_not_stored",
                job_id=entry.job.job_id,
                cost_usd=answer.cost_usd,
                error=repr(error),
                **answer.tokens.model_dump(),
            )
            if not isinstance(error, UnavailableError):
                raise


@dataclass(frozen=True)
class _Whole:
    """An answer in one piece, and what ends when it is counted."""

    content: bytes
    stored: asyncio.Task[None] | None


class _Passing(StreamingResponse):
    """The API's answer, passed on unchanged as it comes; counted at its end, whoever ended it."""

    def __init__(self, gateway: Gateway, exchange: _Exchange, response: UpstreamAnswer) -> None:
        super().__init__(self._body(), response.status, response.headers)
        self._gateway = gateway
        self._exchange = exchange
        self._response = response
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._ended:
                self._gateway.ended(self._exchange)
            await self._response.close()

    async def _body(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.body():
            if self._exchange.meter is not None:
                self._exchange.meter.feed(chunk)
            yield chunk
        self._ended = True
        await _until_stored(self._gateway.ended(self._exchange))


class _PassingWhole(StreamingResponse):
    """An answer in one piece, which the API has written whether or not its runner still waits for it.

    So it is read to its end, and counted, in a task of its own.
    """

    def __init__(self, reading: asyncio.Task[_Whole], response: UpstreamAnswer) -> None:
        super().__init__(self._body(), response.status, response.headers)
        self._reading = reading

    async def _body(self) -> AsyncIterator[bytes]:
        whole = await asyncio.shield(self._reading)
        yield whole.content
        await _until_stored(whole.stored)


async def _content(response: UpstreamAnswer, meter: UsageMeter) -> bytes:
    content = bytearray()
    async for chunk in response.body():
        meter.feed(chunk)
        content += chunk
        if len(content) > _WHOLE_BYTES:
            raise GatewayError(502, f"the answer is larger than {_WHOLE_BYTES} bytes")
    return bytes(content)


async def _until_stored(task: asyncio.Task[None] | None) -> None:
    """The answer ends for the runner when its cost is stored, so that its next request meets the right budget."""
    if task is not None:
        await asyncio.shield(task)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise GatewayError(401, "a job token is required")
    return token
