"""Looks at the appliance's pull requests for what reviewers say, and queues follow-up runs.

A poll, not a webhook: it works the same on every forge, and opens no further address to the internet. Every consumer
looks; a lease in the database keeps them from looking at the same pull request at once. What a forge does here (it is
away, it limits the rate, it refuses a token) is logged once and tried more and more seldom; no run notices.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog

from sdlc_agents.developments.model import FollowUp, ReviewComment
from sdlc_agents.forges.model import Comment, Conversation, ForgeUnavailableError
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.reviews import rules
from sdlc_agents.reviews.access import ForgeAccess
from sdlc_agents.reviews.repository import Watch, WatchRepository

LOOK_SECONDS = 30.0
"""Longest that one pull request may take."""

_LEASE_SECONDS = LOOK_SECONDS + 10
_PARTS_OF_A_POLL = 4
_PASS_SECONDS = (0.2, 15.0)
_MOST_DOUBLINGS = 6
_AT_ONCE = 4
_SEVERAL = 3

log = structlog.get_logger()


@dataclass(frozen=True)
class Pace:
    """Each pull request is looked at every `poll_seconds`, more seldom when quiet, until `days` after its last run."""

    poll_seconds: float
    days: int


class ReviewPoller:
    """One consumer's part of the looking."""

    def __init__(self, watches: WatchRepository, access: ForgeAccess, pace: Pace) -> None:
        self._watches = watches
        self._access = access
        self._pace = pace
        # By a pull request's address how often in a row, and by forge which pull requests found it away.
        self._failures: dict[str, int] = {}
        self._away: dict[str, set[str]] = {}
        # By forge until when its rate limit is left to the runs.
        self._resting: dict[str, datetime] = {}

    async def run(self) -> None:
        """Look until cancelled. A database that is away is asked again."""
        shortest, longest = _PASS_SECONDS
        pause = min(longest, max(shortest, self._pace.poll_seconds / _PARTS_OF_A_POLL))
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                log.warning("dependency_away", error=error.message)
            except Exception:  # a poll must not end for good because one failed
                log.exception("review_poll_crashed")
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Look at every pull request that is due and that nobody else looks at. Raises `UnavailableError`."""
        projects = await self._watches.projects()
        if not projects:
            return
        found = await self._watches.newest(list(projects), self._pace.days)
        await self._watches.watch(found)
        urls = [document["pr_mr_url"] for document in found]
        if urls:
            await asyncio.gather(*(self._work(projects, urls) for _ in range(min(_AT_ONCE, len(urls)))))

    async def _work(self, projects: dict[str, Document], urls: list[str]) -> None:
        while (watch := await self._watches.claim(urls, _LEASE_SECONDS)) is not None:
            project = projects.get(watch.jira_project_key)
            try:
                if project is not None:
                    await self._look_at(watch, project)
            except asyncio.CancelledError:
                with suppress(UnavailableError):
                    await self._watches.release(watch)
                raise

    async def _look_at(self, watch: Watch, project: Document) -> None:
        slow = rules.SLOWEST * self._pace.poll_seconds
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                forge = await self._access.open(project, watch.repository_url)
                conversation = await forge.conversation(watch.number)
        except UnavailableError:
            raise
        except ForgeUnavailableError as error:
            await self._unavailable(watch, error.message)
        except TimeoutError:
            self._failed(watch.url, f"it could not be read within {LOOK_SECONDS:g} seconds")
            await self._watches.looked(watch, watch.handled, again_in=slow)
        except ServiceError as error:
            self._failed(watch.url, error.message)
            await self._watches.looked(watch, watch.handled, again_in=slow)
        except Exception as error:  # one pull request's oddity is no reason to leave the others
            log.exception("review_look_crashed", url=watch.url)
            self._failed(watch.url, type(error).__name__)
            await self._watches.looked(watch, watch.handled, again_in=slow)
        else:
            self._well(watch)
            await self._judge(watch, project, conversation)
            if conversation.rests_until is not None:
                await self._rest(watch.forge, conversation.rests_until)

    async def _judge(self, watch: Watch, project: Document, conversation: Conversation) -> None:
        if not conversation.open:
            log.info("pull_request_closed", url=watch.url)
            await self._watches.looked(watch, watch.handled, again_in=0, closed=True)
            return
        allowed = project["pull_requests"]["follow_up_by"]
        # In a thread: everyone may write long comments, and the leases of the runs must be renewed meanwhile.
        decision = await asyncio.to_thread(rules.decide, conversation, allowed, watch.handled)
        for comment in decision.refused:
            log.info("review_not_followed", url=watch.url, author=comment.author, comment=comment.id)
        last = max([watch.completed_at, *(comment.at for comment in conversation.comments)])
        again_in = rules.interval(self._pace.poll_seconds, now() - last)
        handled = watch.handled.with_([*decision.refused, *decision.wanted])
        if not decision.wanted:
            await self._watches.looked(watch, handled, again_in=again_in)
            return
        follow_up = FollowUp(
            pull_request_number=watch.number,
            pull_request_url=watch.url,
            of=watch.development_id,
            requested_by=decision.requested_by,
            comments=tuple(_kept(comment) for comment in decision.wanted),
        )
        again_in = self._pace.poll_seconds
        development_id = await self._watches.start(watch, follow_up, handled, again_in=again_in)
        if development_id is not None:
            log.info(
                "follow_up_queued",
                development_id=development_id,
                url=watch.url,
                requested_by=follow_up.requested_by,
                comments=len(follow_up.comments),
            )

    async def _unavailable(self, watch: Watch, message: str) -> None:
        """Ask again later, each time later; the whole forge is left alone when several pull requests find it away."""
        away = self._away.setdefault(watch.forge, set())
        if not away:
            log.warning("forge_away", forge=watch.forge, url=watch.url, error=message)
        away.add(watch.url)
        failures = self._failures.get(watch.url, 0)
        self._failures[watch.url] = min(failures + 1, _MOST_DOUBLINGS)
        seconds = min(rules.SLOWEST * self._pace.poll_seconds, self._pace.poll_seconds * 2**failures)
        await self._watches.looked(watch, watch.handled, again_in=seconds)
        if len(away) >= _SEVERAL:
            await self._watches.postpone(watch.forge, seconds)

    async def _rest(self, forge: str, until: datetime) -> None:
        """Leave the whole forge alone: what is left of its rate limit is for the runs."""
        if until > self._resting.get(forge, now()):
            self._resting[forge] = until
            log.warning("looks_rest", forge=forge, until=until)
        await self._watches.postpone(forge, (until - now()).total_seconds())

    def _failed(self, url: str, message: str) -> None:
        if self._failures.get(url, 0) == 0:
            log.warning("reviews_not_read", url=url, error=message)
        self._failures[url] = 1

    def _well(self, watch: Watch) -> None:
        self._failures.pop(watch.url, None)
        away = self._away.get(watch.forge, set())
        if len(away) >= _SEVERAL:
            away.clear()
        away.discard(watch.url)
        if watch.forge in self._away and not away:
            del self._away[watch.forge]
            log.info("forge_back", forge=watch.forge)


def _kept(comment: Comment) -> ReviewComment:
    return ReviewComment(
        author=comment.author,
        body=comment.body,
        path=comment.path,
        line=comment.line,
        requests_changes=comment.requests_changes,
    )
