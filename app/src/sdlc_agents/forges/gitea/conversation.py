"""What was said on a pull request in Gitea, and what the bot says there.

Plain comments are an issue's (scope read:issue); a review has a body, a state and comments on lines, and needs no scope
beyond the repository's own. The bot speaks by a review that only comments, so that its token may write no issues.
"""

from datetime import datetime
from typing import Any

from sdlc_agents.forges.gitea.api import GiteaApi
from sdlc_agents.forges.model import Comment, Conversation

_SAID = {"APPROVED", "COMMENT", "REQUEST_CHANGES"}

Document = dict[str, Any]


async def read(api: GiteaApi, number: int) -> Conversation:
    """The pull request's state and all comments, oldest first; reviews that are not submitted yet are left out."""
    shown = (await api.call("GET", f"pulls/{number}", accept={200})).json()
    response = await api.call("GET", f"issues/{number}/comments", accept={200}, right="read:issue")
    comments = [
        Comment(f"comment-{document['id']}", _author(document), document["body"], _time(document["created_at"]))
        for document in response.json()
    ]
    for review in await _reviews(api, number):
        comments.extend(await _of_review(api, number, review))
    return Conversation(
        open=shown["state"] == "open",
        head_commit=str(shown["head"]["sha"]),
        bot=await api.login(),
        comments=tuple(sorted(comments, key=lambda comment: comment.at)),
    )


async def say_once(api: GiteaApi, number: int, body: str, marker: str) -> None:
    """Say it unless the bot has said something with this marker."""
    bot = (await api.login()).casefold()
    said = await _reviews(api, number)
    if any(_author(review).casefold() == bot and marker in review["body"] for review in said):
        return
    document = {"event": "COMMENT", "body": f"{body}\n\n{marker}"}
    await api.call("POST", f"pulls/{number}/reviews", document, accept={200})


async def _reviews(api: GiteaApi, number: int) -> list[Document]:
    """The submitted ones."""
    return [review for review in await api.pages(f"pulls/{number}/reviews") if review["state"] in _SAID]


async def _of_review(api: GiteaApi, number: int, review: Document) -> list[Comment]:
    # A review may be begun long before it is submitted; with its comments it is said then.
    at = _time(review["updated_at"])
    wants = review["state"] == "REQUEST_CHANGES" and not review["dismissed"]
    comments = []
    if review["body"].strip() or wants:
        comments.append(Comment(f"review-{review['id']}", _author(review), review["body"], at, requests_changes=wants))
    if review["comments_count"]:
        response = await api.call("GET", f"pulls/{number}/reviews/{review['id']}/comments", accept={200})
        for document in sorted(response.json(), key=lambda document: int(document["id"])):
            line = document["position"] or document["original_position"] or None
            path = document["path"]
            comments.append(
                Comment(f"comment-{document['id']}", _author(document), document["body"], at, path=path, line=line)
            )
    return comments


def _author(document: Document) -> str:
    return str((document.get("user") or {}).get("login") or "")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
