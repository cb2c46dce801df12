"""What of a conversation starts a run, and when a pull request is looked at again. No clock, no input, no output."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sdlc_agents.forges.model import Comment, Conversation
from sdlc_agents.reviews.mentions import mentions

COMMENTS = 100
BODY_CHARACTERS = 10_000
ALL_CHARACTERS = 60_000
HANDLED_KEPT = 500
SLOWEST = 10
"""A quiet pull request is looked at that many times less often."""

_CUT = "\n[… cut]"


@dataclass(frozen=True)
class Handled:
    """What is settled of a pull request: everything before `since`, and the comments with these ids."""

    since: datetime
    ids: dict[str, datetime]

    def covers(self, comment: Comment) -> bool:
        """Whether this comment can start nothing any more. Forges tell whole seconds."""
        return comment.id in self.ids or comment.at < self.since.replace(microsecond=0)

    def with_(self, comments: Collection[Comment]) -> "Handled":
        """With these comments settled too. Of too many the oldest are forgotten, and all before them is settled."""
        ids = dict(sorted({**self.ids, **{comment.id: comment.at for comment in comments}}.items(), key=_second))
        since = self.since
        if len(ids) > HANDLED_KEPT:
            forgotten = list(ids.items())[: len(ids) - HANDLED_KEPT]
            since = max(since, forgotten[-1][1] + timedelta(seconds=1))
            ids = dict(list(ids.items())[len(forgotten) :])
        return Handled(since, ids)


@dataclass(frozen=True)
class Decision:
    """`wanted` is what the run is to do, oldest first and bounded; `refused` asked for one and may not."""

    wanted: tuple[Comment, ...]
    refused: tuple[Comment, ...]
    requested_by: str = ""


def decide(conversation: Conversation, allowed: Collection[str], handled: Handled) -> Decision:
    """What is new and starts a run.

    A comment does when it requests changes or mentions the bot, and its author is one of `allowed` and not the bot.
    What the allowed said on lines of code, and no run has seen, belongs to it. What does not fit in is left for the
    run after it; requests come last, since nothing but a request that is still open makes that run start. Who may not
    ask now is not heard later, either: whoever is allowed from tomorrow on starts no run by what was said yesterday.
    """
    bot = conversation.bot.casefold()
    names = {name.casefold() for name in allowed} - {bot}
    new = [comment for comment in conversation.comments if not handled.covers(comment)]
    asking = [comment for comment in new if comment.requests_changes or mentions(comment.body, conversation.bot)]
    requests = [comment for comment in asking if comment.author.casefold() in names]
    others = [comment for comment in asking if comment.author.casefold() not in names | {bot}]
    if not requests:
        return Decision((), tuple(others))
    asked = {comment.id for comment in requests}
    on_lines = [
        comment
        for comment in new
        if comment.path is not None and comment.author.casefold() in names and comment.id not in asked
    ]
    chosen = _bounded([*on_lines, *requests])
    return Decision(tuple(sorted(chosen, key=_place)), tuple(others), requests[0].author)


def interval(poll_seconds: float, quiet: timedelta) -> float:
    """Seconds until the next look: the longer nothing was said, the later, up to `SLOWEST` times as late."""
    return min(SLOWEST * poll_seconds, max(poll_seconds, quiet.total_seconds() / SLOWEST))


def _bounded(comments: list[Comment]) -> list[Comment]:
    """The first ones that a run can be given; a long one is cut."""
    kept: list[Comment] = []
    left = ALL_CHARACTERS
    for comment in comments[:COMMENTS]:
        body = comment.body
        if len(body) > BODY_CHARACTERS:
            body = body[: BODY_CHARACTERS - len(_CUT)] + _CUT
        left -= len(body)
        if left < 0:
            break
        kept.append(replace(comment, body=body))
    return kept


def _place(comment: Comment) -> tuple[datetime, bool]:
    """By time; a review stands before the comments on lines that it was said with."""
    return comment.at, comment.path is not None


def _second(item: tuple[str, datetime]) -> datetime:
    return item[1]
