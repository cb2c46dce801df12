"""What was said on a merge request of GitLab (notes, on lines too, and who requests changes), and what the bot says.

https://docs.gitlab.com/api/notes/#merge-requests, https://docs.gitlab.com/api/merge_requests/
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sdlc_agents.forges.calls import Api
from sdlc_agents.forges.model import Comment, Conversation
from sdlc_agents.forges.owners import token_owner
from sdlc_agents.runs.harmless import ZERO_WIDTH

_REQUESTED = "requested changes"
_BODY_CHARACTERS = 1_000_000
_COMMAND = re.compile(r"^([^\S\n]*)(?=/\r*[a-z])", re.MULTILINE | re.IGNORECASE)


async def read(api: Api, project: str, number: int) -> Conversation:
    """The conversation of merge request `number` of a project (`/projects/group%2Fname`)."""
    path = f"{project}/merge_requests/{number}"
    shown = (await api.call("GET", path, accept={200})).json()
    notes = await api.pages(f"{path}/notes", {"sort": "asc", "order_by": "created_at"})
    reviewers = await api.pages(f"{path}/reviewers")
    requesting = [each["user"]["username"] for each in reviewers if each["state"] == "requested_changes"]
    return Conversation(
        open=shown["state"] == "opened",
        head_commit=shown["sha"],
        bot=await token_owner(api, "username"),
        comments=_comments(notes, requesting),
    )


async def say_once(api: Api, project: str, number: int, body: str, marker: str) -> None:
    """Say it unless the bot has said something with this marker."""
    path = f"{project}/merge_requests/{number}/notes"
    bot = await token_owner(api, "username")
    if any(note["author"]["username"] == bot and marker in note["body"] for note in await api.pages(path)):
        return
    ending = f"\n\n{marker}"
    said = without_commands(body)[: _BODY_CHARACTERS - len(ending)]
    await api.call("POST", path, {"body": said + ending}, accept={201})


def without_commands(text: str) -> str:
    """A text that commands nothing: GitLab would obey a line such as `/merge`, whoever made the bot write it.

    https://docs.gitlab.com/user/project/quick_actions/
    """
    return _COMMAND.sub(rf"\1{ZERO_WIDTH}", text)


def _comments(notes: list[dict[str, Any]], requesting: list[str]) -> tuple[Comment, ...]:
    """The notes of people. Those that GitLab writes itself are left out, but for the one that tells of a review that
    requests changes; where there is none, the reviewer's last note is taken for it.
    """
    asking = set()
    for reviewer in requesting:
        own = [note for note in notes if note["author"]["username"] == reviewer]
        told = [note for note in own if note["system"] and note["body"] == _REQUESTED]
        written = [note for note in own if not note["system"]]
        asking |= {note["id"] for note in (told or written)[-1:]}
    comments = [
        replace(
            _comment(note),
            requests_changes=note["id"] in asking,
            body="" if note["system"] else note["body"],
        )
        for note in notes
        if not note["system"] or note["id"] in asking
    ]
    return tuple(sorted(comments, key=lambda comment: comment.at))


def _comment(note: Mapping[str, Any]) -> Comment:
    position = note.get("position") or {}
    return Comment(
        id=f"note-{note['id']}",
        author=note["author"]["username"],
        body=note["body"],
        at=datetime.fromisoformat(note["created_at"]),
        path=position.get("new_path") or position.get("old_path"),
        line=position.get("new_line") or position.get("old_line"),
    )
