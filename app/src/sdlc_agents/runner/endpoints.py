"""The runner's HTTP protocol, for consumers alone. Starlette alone: a runner starts anew for every job."""

from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sdlc_agents.kernel.errors import InvalidRequestError
from sdlc_agents.kernel.web import JsonResponse, describe
from sdlc_agents.runner.job import JobSlot
from sdlc_agents.runs.protocol import JobRequest, RunnerState

_CHUNK = 1024 * 1024
_JOB_BYTES = 4 * 1024 * 1024


class KnownClients:
    """Lets in only the given addresses; with none given, everyone who reaches the port."""

    def __init__(self, app: ASGIApp, addresses: tuple[str, ...]) -> None:
        self._app = app
        self._addresses = frozenset(addresses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; a stranger gets 403."""
        client = scope.get("client")
        if scope["type"] == "http" and self._addresses and (client is None or client[0] not in self._addresses):
            await JsonResponse({"error": "this runner takes jobs from consumers only"}, 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def routes(slot: JobSlot) -> list[Route]:
    """The routes on one slot."""

    async def state(_request: Request) -> JsonResponse:
        return JsonResponse(RunnerState(state=slot.state).model_dump())

    async def create(request: Request) -> StreamingResponse:
        slot.take()
        try:
            job = await _read(request, slot)
        except BaseException:
            slot.release()
            raise
        return _JobResponse(slot, job)

    async def bundle(request: Request) -> Response:
        path = slot.bundle(request.path_params["job_id"])
        if path is None:
            return Response(status_code=204)
        return FileResponse(path, media_type="application/x-git-bundle")

    async def discard(request: Request) -> Response:
        slot.discard(request.path_params["job_id"])
        return Response(status_code=204)

    return [
        Route("/v1/jobs", state, methods=["GET"]),
        Route("/v1/jobs", create, methods=["POST"]),
        Route("/v1/jobs/{job_id}/bundle", bundle, methods=["GET"]),
        Route("/v1/jobs/{job_id}", discard, methods=["DELETE"]),
    ]


async def _read(request: Request, slot: JobSlot) -> JobRequest:
    async with request.form(max_files=1, max_fields=1, max_part_size=_JOB_BYTES) as form:
        text, upload = form.get("job"), form.get("bundle")
        if not isinstance(text, str) or not isinstance(upload, UploadFile):
            raise InvalidRequestError("expected the parts `job` (JSON) and `bundle` (a file)")
        try:
            job = JobRequest.model_validate_json(text)
        except ValidationError as error:
            raise InvalidRequestError(describe(error.errors(include_input=False, include_url=False))) from error
        slot.directory.create()
        with slot.directory.incoming.open("wb") as file:
            while chunk := await upload.read(_CHUNK):
                file.write(chunk)
    return job


class _JobResponse(StreamingResponse):
    """The job's events; tells the slot when the reader is gone, also in the middle."""

    def __init__(self, slot: JobSlot, job: JobRequest) -> None:
        super().__init__(slot.lines(job), media_type="application/x-ndjson")
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the job or the reader ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.reader_left()
