"""What was said on a pull request of GitHub: comments, comments on lines, and reviews.

https://docs.github.com/rest/issues/comments, https://docs.github.com/rest/pulls/comments,
https://docs.github.com/rest/pulls/reviews
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sdlc_agents.forges.calls import Api
from sdlc_agents.forges.model import Comment, Conversation

_NOBODY = "ghost"
"""GitHub's own name for the author of what a deleted account left behind."""


async def read(api: Api, repository: str, number: int) -> Conversation:
    """The conversation of pull request `number` of a repository (`/repos/owner/name`)."""
    pull = (await api.call("GET", f"{repository}/pulls/{number}", accept={200})).json()
    user = (await api.call("GET", "/user", accept={200})).json()
    remarks = await api.pages(f"{repository}/issues/{number}/comments")
    on_lines = await api.pages(f"{repository}/pulls/{number}/comments")
    reviews = await api.pages(f"{repository}/pulls/{number}/reviews")
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
            _comment("review", review, review["submitted_at"], requests_changes=review["state"] == "CHANGES_REQUESTED")
            for review in reviews
            if review.get("submitted_at") and (review.get("body") or review["state"] == "CHANGES_REQUESTED")
        ),
    ]
    return Conversation(
        open=pull["state"] == "open",
        head_commit=pull["head"]["sha"],
        bot=user["login"],
        comments=tuple(sorted(comments, key=lambda comment: comment.at)),
    )


def _comment(kind: str, document: Mapping[str, Any], at: str, **given: Any) -> Comment:
    author = document.get("user") or {}
    return Comment(
        id=f"{kind}-{document['id']}",
        author=author.get("login", _NOBODY),
        body=document.get("body") or "",
        at=datetime.fromisoformat(at),
        **given,
    )
