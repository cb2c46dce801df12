"""Telling others of a development.

The ticket hears that it began and how it ended, queue `develop_error` that it failed, and a follow-up's pull request
how it ended. Each is kept as pending in the development's document until done, so a crash or an outage only delays it.
One consumer at a time tells of a development, so a start is told before its end; one that is not told by then is
dropped. A comment carries a marker by which it is found again, so that it is made once.
"""

import asyncio
from contextlib import suppress

import structlog

from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.error_queue import ErrorQueue
from sdlc_agents.consumer.reporting.links import ConfigurationApi
from sdlc_agents.consumer.reporting.ticket_comments import tell_end, tell_start
from sdlc_agents.developments.model import Notice, NoticeState
from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.reviews.replies import AnswerRefusedError, Answers
from sdlc_agents.trackers.jira import CommentRefusedError, Jira, TrackerError

# Of all that is pending of one development; less than `ClaimRepository.take_untold` gives.
_TELLING_SECONDS = 40.0
_AGAIN_SECONDS = 15
_LOOK_SECONDS = 1.0
_MESSAGE_FIELDS = ("jira_issue_id", "jira_issue_key", "jira_project_key", "summary", "description")

log = structlog.get_logger()


class Notices:
    """Does what is pending, in a task beside the runs: whom it tells may hang, and no run is to wait for that."""

    def __init__(
        self,
        developments: ClaimRepository,
        errors: ErrorQueue,
        jira: Jira | None,
        answers: Answers | None = None,
        api: ConfigurationApi | None = None,
    ) -> None:
        self._developments = developments
        self._errors = errors
        self._jira = jira
        self._answers = answers
        self._api = api or ConfigurationApi()
        self._woken = asyncio.Event()
        self._ending = False

    def wake(self) -> None:
        """Have `run` look at once."""
        self._woken.set()

    def end(self) -> None:
        """Have `run` look once more, and return."""
        self._ending = True
        self._woken.set()

    async def run(self) -> None:
        """Look for what is pending again and again, also while a run is under way, until `end`."""
        while not self._ending:
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._woken.wait()
        await self._look()

    async def _look(self) -> None:
        # Before the look: who wakes during it may have come too late for it.
        self._woken.clear()
        try:
            await self.send()
        except UnavailableError as error:
            log.warning("notices_wait", error=error.message)
        except Exception:  # the telling must not end for good because one look failed
            log.exception("notices_crashed")

    async def send(self) -> None:
        """Tell whoever is still to be told; what fails stays pending. Raises `UnavailableError` without a database."""
        while (document := await self._developments.take_untold()) is not None:
            await self._tell(document)

    async def _tell(self, document: Document) -> None:
        results: dict[Notice, NoticeState] = {}
        again_in = 0
        until = asyncio.get_running_loop().time() + _TELLING_SECONDS
        pending = [Notice(notice) for notice, state in document["notices"].items() if state == NoticeState.PENDING]
        for notice in pending:
            try:
                async with asyncio.timeout_at(until):
                    await self._tell_of(notice, document)
                results[notice] = NoticeState.DONE
            except (CommentRefusedError, AnswerRefusedError) as error:
                log.warning("notice_refused", notice=notice, development_id=document["_id"], error=error.message)
                results[notice] = NoticeState.REFUSED
            except (ServiceError, TimeoutError) as error:
                log.warning("notice_failed", notice=notice, development_id=document["_id"], error=str(error))
                wanted = error.retry_after if isinstance(error, TrackerError) else None
                again_in = max(again_in, wanted or _AGAIN_SECONDS)
            except Exception:  # one answer's oddity is no reason to leave the others untold
                log.exception("notice_crashed", notice=notice, development_id=document["_id"])
                again_in = max(again_in, _AGAIN_SECONDS)
        await self._developments.told(document, results, again_in=again_in)

    async def _tell_of(self, notice: Notice, document: Document) -> None:
        if notice is Notice.ERROR_QUEUE:
            original = {name: document.get(name) for name in _MESSAGE_FIELDS} | {"development_id": document["_id"]}
            await self._errors.publish(original, document.get("error_message") or "")
        elif notice is Notice.PULL_REQUEST:
            if self._answers is not None:
                await self._answers.send(document)
        elif self._jira is not None:
            await (tell_start if notice is Notice.STARTED else tell_end)(self._jira, document, self._api)
