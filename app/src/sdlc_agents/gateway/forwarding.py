"""One request through the gateway: token, budget, policy, out, back, counted."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import httpcore
import stamina
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sdlc_agents.clock import now
from sdlc_agents.errors import UnavailableError
from sdlc_agents.gateway.errors import GatewayError
from sdlc_agents.gateway.ledger import Ledger
from sdlc_agents.gateway.metrics import GatewayMetrics
from sdlc_agents.gateway.policy import Ask, Policy
from sdlc_agents.gateway.pricing import cost
from sdlc_agents.gateway.repository import Answer, Entry, Job
from sdlc_agents.gateway.upstream import FAILURES, Upstream, UpstreamAnswer
from sdlc_agents.gateway.usage import UsageMeter

BODY_BYTES = 32 * 1024 * 1024
_OK = 200
_SECONDS_TO_STORE = 60.0

log = structlog.get_logger()


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
        self._under_way: Counter[str] = Counter()
        self._storing: set[asyncio.Task[None]] = set()

    async def forward(self, request: Request, path: str, *, counted: bool) -> StreamingResponse:
        """The API's answer as it comes. Raises `GatewayError`; `counted` False for what costs nothing."""
        try:
            token = _token(request)
            # The database is asked while the body comes in.
            finding = asyncio.create_task(self._authenticate(token), name="authenticate")
            try:
                body = await read(request, BODY_BYTES)
                received = time.perf_counter()
                job = await finding
            finally:
                await _settled(finding)
            structlog.contextvars.bind_contextvars(job_id=job.job_id, development_id=job.development_id)
            ask = self._policy.examine(body)
            self._enter(job)
            try:
                self._metrics.passed_on(time.perf_counter() - received)
                response = await self._send(path, request, body)
            except BaseException:
                self._leave(job)
                raise
        except GatewayError as error:
            self._metrics.refused(error.kind)
            log.info("request_refused", status=error.status, reason=error.message)
            raise
        self._metrics.answered(ask.listed, response.status)
        meter = UsageMeter(request_bytes=len(body), streaming=ask.streaming)
        return _Passing(self, job, ask, response, meter if counted and response.status == _OK else None)

    async def close(self) -> None:
        """Finish counting."""
        if self._storing:
            await asyncio.wait(self._storing, timeout=5)

    def ended(self, job: Job, ask: Ask, meter: UsageMeter | None) -> asyncio.Task[None] | None:
        """An answer is over: free its place and count what it used; the task ends when that is stored."""
        self._leave(job)
        if meter is None:
            return None
        tokens = meter.tokens()
        answer = Answer(uuid.uuid4().hex, tokens, cost(ask.price, tokens))
        self._metrics.used(ask.listed, tokens, answer.cost_usd)
        task = asyncio.create_task(self._store(self._ledger.expect(job, answer)), name="store")
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

    def _leave(self, job: Job) -> None:
        self._under_way[job.job_id] -= 1
        if self._under_way[job.job_id] <= 0:
            del self._under_way[job.job_id]

    async def _send(self, path: str, request: Request, body: bytes) -> UpstreamAnswer:
        try:
            return await self._upstream.send(path, request.url.query, request.headers.items(), body)
        except httpcore.TimeoutException as error:
            raise GatewayError(504, "the model's API did not answer in time", retry_after=2) from error
        except FAILURES as error:
            log.warning("upstream_unreachable", error=repr(error))
            raise GatewayError(502, "the model's API cannot be reached", retry_after=2) from error

    async def _store(self, entry: Entry) -> None:
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


class _Passing(StreamingResponse):
    """The API's answer, passed on unchanged; counted at its end, whoever ended it."""

    def __init__(
        self, gateway: Gateway, job: Job, ask: Ask, response: UpstreamAnswer, meter: UsageMeter | None
    ) -> None:
        super().__init__(self._body(), response.status, response.headers)
        self._gateway = gateway
        self._job = job
        self._ask = ask
        self._response = response
        self._meter = meter
        self._stored = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._stored:
                self._gateway.ended(self._job, self._ask, self._meter)
            await self._response.close()

    async def _body(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.body():
            if self._meter is not None:
                self._meter.feed(chunk)
            yield chunk
        # The answer ends for the runner when its cost is stored, so that its next request meets the right budget.
        self._stored = True
        task = self._gateway.ended(self._job, self._ask, self._meter)
        if task is not None:
            await asyncio.shield(task)


async def read(request: Request, limit: int) -> bytes:
    """A request's body. Raises `GatewayError` when it is too long, or does not come."""
    parts: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise GatewayError(413, f"the request is larger than {limit} bytes")
            parts.append(chunk)
    except ClientDisconnect as error:
        raise GatewayError(400, "the body is incomplete") from error
    return b"".join(parts)


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise GatewayError(401, "a job token is required")
    return token


async def _settled(finding: asyncio.Task[Job]) -> None:
    """End a look-up that nobody waits for any more."""
    finding.cancel()
    with suppress(asyncio.CancelledError, GatewayError):
        await finding
