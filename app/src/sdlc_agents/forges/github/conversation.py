"""What was said on a pull request of GitHub (comments, comments on lines, reviews), and what the bot says there.

The bot speaks by a review that only comments, which the right "Pull requests: write" covers.

https://docs.github.com/rest/issues/comments, https://docs.github.com/rest/pulls/comments,
https://docs.github.com/rest/pulls/reviews
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sdlc_agents.forges.calls import Api, rests_until
from sdlc_agents.forges.model import Comment, Conversation
from sdlc_agents.forges.owners import token_owner

_NOBODY = "ghost"
"""GitHub's own name for the author of what a deleted account left behind."""
_BODY_CHARACTERS = 65_536
_SETTLES = {"APPROVED", "DISMISSED"}
"""The reviews after which what their author requested before does not count any more."""


async def read(api: Api, repository: str, number: int) -> Conversation:
    """The conversation of pull request `number` of a repository (`/repos/owner/name`)."""
    answer = await api.call("GET", f"{repository}/pulls/{number}", accept={200})
    pull = answer.json()
    remarks = await api.pages(f"{repository}/issues/{number}/comments")
    on_lines = await api.pages(f"{repository}/pulls/{number}/comments")
    reviews = await _reviews(api, repository, number)
    requesting = _requesting(reviews)
    comments = [
        *(_comment("comment", remark, remark["created_at"]) for remark in remarks),
        *(
            _comment(
                "review-comment",
                remark,
                remark["created_at"],
                path=remark["path"],
                line=remark.get("line") or remark.get("original_line"),
            )
            for remark in on_lines
        ),
        *(
            _comment("review", review, review["submitted_at"], requests_changes=review["id"] in requesting)
            for review in reviews
            if review.get("body") or review["id"] in requesting
        ),
    ]
    return Conversation(
        open=pull["state"] == "open",
        head_commit=pull["head"]["sha"],
        bot=await token_owner(api, "login"),
        comments=tuple(sorted(comments, key=lambda comment: comment.at)),
        rests_until=rests_until(answer),
    )


async def say_once(api: Api, repository: str, number: int, body: str, marker: str) -> None:
    """Say it unless the bot has said something with this marker."""
    bot = await token_owner(api, "login")
    said = await _reviews(api, repository, number)
    if any(_author(review) == bot and marker in (review.get("body") or "") for review in said):
        return
    ending = f"\n\n{marker}"
    document = {"event": "COMMENT", "body": body[: _BODY_CHARACTERS - len(ending)] + ending}
    await api.call("POST", f"{repository}/pulls/{number}/reviews", document, accept={200})


async def _reviews(api: Api, repository: str, number: int) -> list[dict[str, Any]]:
    """The submitted ones."""
    found = await api.pages(f"{repository}/pulls/{number}/reviews")
    return [review for review in found if review.get("submitted_at")]


def _requesting(reviews: list[dict[str, Any]]) -> set[int]:
    """The reviews that still request changes: GitHub leaves them as they are when their author approves later."""
    standing: dict[str, set[int]] = {}
    for review in sorted(reviews, key=lambda review: datetime.fromisoformat(review["submitted_at"])):
        own = standing.setdefault(_author(review), set())
        if review["state"] == "CHANGES_REQUESTED":
            own.add(review["id"])
        elif review["state"] in _SETTLES:
            own.clear()
    return set().union(*standing.values())


def _author(document: Mapping[str, Any]) -> str:
    return str((document.get("user") or {}).get("login", _NOBODY))


def _comment(kind: str, document: Mapping[str, Any], at: str, **given: Any) -> Comment:
    return Comment(
        id=f"{kind}-{document['id']}",
        author=_author(document),
        body=document.get("body") or "",
        at=datetime.fromisoformat(at),
        **given,
    )
