"""Jira's payload to a `Delivery`, or why it is ignored.

The shapes are those of Jira Cloud and Data Center webhooks and of Data Center's workflow post function (which sends
`transition` and neither `webhookEvent` nor a changelog):
https://developer.atlassian.com/cloud/jira/platform/webhooks/ and https://developer.atlassian.com/server/jira/platform/webhooks/
Strict about what the product uses, blind to everything else in the payload.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sdlc_agents.events.model import EventKind
from sdlc_agents.kernel.errors import InvalidRequestError
from sdlc_agents.webhooks import adf

_KEY = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)
EVENT_KINDS = frozenset(EventKind)
POST_FUNCTION = "workflow_post_function"
MAX_DEPTH = 500
"""Objects and arrays inside one another; Jira's own payloads stay far below 100."""

# What Jira also reports as an update, without a changelog, of an issue that stays in its status.
_REMARKS = frozenset(
    {
        *("issue_commented", "issue_comment_edited", "issue_comment_deleted"),
        *("issue_work_logged", "issue_worklog_updated", "issue_worklog_deleted"),
    }
)


@dataclass(frozen=True, slots=True)
class TriggerRule:
    """What starts a development in a project: the status, and the kinds of events that may report it.

    A workflow's post function counts as an update.
    """

    status: str
    event_kinds: frozenset[str] = EVENT_KINDS


TriggerOf = Callable[[str], TriggerRule]
"""The trigger of the project with this Jira key."""


@dataclass(frozen=True, slots=True)
class Component:
    """A component of the ticket: it may name the repository."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A ticket that was moved to the trigger status; `description` is text or Markdown, empty when there is none."""

    event_type: str
    jira_issue_id: str
    jira_issue_key: str
    jira_project_key: str
    summary: str
    description: str
    status: str
    previous_status: str | None
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A payload that starts nothing, and why."""

    reason: str


def parse(body: bytes, trigger_of: TriggerOf) -> Delivery | Ignored:
    """Judge a payload; raises `InvalidRequestError` naming the field that is not what Jira sends."""
    payload = _load(body)
    event_type = _string(payload, "webhookEvent", "webhookEvent") if "webhookEvent" in payload else POST_FUNCTION
    if event_type not in EVENT_KINDS and event_type != POST_FUNCTION:
        return Ignored("this kind of event starts nothing")
    issue = _object(payload, "issue", "issue")
    if not issue:
        return Ignored("the event is not about an issue")
    fields = _object(issue, "fields", "issue.fields")
    project_key = _project_key(issue, fields)
    trigger = trigger_of(project_key if isinstance(project_key, str) else "")
    if (EventKind.UPDATED if event_type == POST_FUNCTION else event_type) not in trigger.event_kinds:
        return Ignored("this kind of event starts nothing in this project")
    status = _string(_object(fields, "status", "issue.fields.status"), "name", "issue.fields.status.name")
    if status != trigger.status:
        return Ignored("the issue is not in the trigger status")
    moved, previous = _transition(payload, event_type, status)
    if not moved:
        return Ignored("the event did not move the issue to the trigger status")
    return Delivery(
        event_type=event_type,
        jira_issue_id=_identifier(issue.get("id"), "issue.id"),
        jira_issue_key=_identifier(issue.get("key"), "issue.key"),
        jira_project_key=_identifier(project_key, "issue.fields.project.key"),
        summary=_string(fields, "summary", "issue.fields.summary"),
        description=_description(fields.get("description")),
        status=status,
        previous_status=previous,
        components=_components(fields.get("components")),
    )


def _load(body: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            raise _too_deep() from error
        raise InvalidRequestError("the body is not valid JSON") from error
    if not isinstance(payload, dict):
        raise InvalidRequestError("the body is not a JSON object")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:  # counting is cheap, and nearly always enough
        _check_depth(payload)
    return payload


def _check_depth(payload: dict[str, Any]) -> None:
    level: list[Any] = [payload]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidRequestError:
    return InvalidRequestError(f"the body is nested deeper than {MAX_DEPTH} levels")


def _project_key(issue: Mapping[str, Any], fields: Mapping[str, Any]) -> object:
    """The project's key as given, else what the issue's key begins with."""
    given = _object(fields, "project", "issue.fields.project").get("key")
    issue_key = issue.get("key")
    return issue_key.rpartition("-")[0] if given is None and isinstance(issue_key, str) else given


def _transition(payload: Mapping[str, Any], event_type: str, status: str) -> tuple[bool, str | None]:
    """Whether the event moved the issue to this status, as far as it tells, and from which one."""
    changelog = payload.get("changelog")
    if changelog is None:
        if event_type == EventKind.UPDATED and _is_remark(payload):
            return False, None
        transition = _object(payload, "transition", "transition")
        return True, _string(transition, "from_status", "transition.from_status") or None
    items = _object(payload, "changelog", "changelog").get("items")
    if not isinstance(items, list):
        raise InvalidRequestError("changelog.items: must be an array")
    for item in items:
        if isinstance(item, dict) and item.get("field") == "status" and item.get("toString") == status:
            previous = item.get("fromString")
            return True, previous if isinstance(previous, str) else None
    return False, None


def _is_remark(payload: Mapping[str, Any]) -> bool:
    name = payload.get("issue_event_type_name")
    return payload.get("comment") is not None or (isinstance(name, str) and name in _REMARKS)


def _components(value: object) -> tuple[Component, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InvalidRequestError("issue.fields.components: must be an array")
    return tuple(
        Component(
            _string(item, "name", "issue.fields.components.name"),
            _string(item, "description", "issue.fields.components.description"),
        )
        for item in value
        if isinstance(item, dict)
    )


def _description(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return adf.to_markdown(value)
    raise InvalidRequestError("issue.fields.description: must be a string, a document or null")


def _object(parent: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{path}: must be an object")
    return value


def _string(parent: Mapping[str, Any], name: str, path: str) -> str:
    value = parent.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequestError(f"{path}: must be a string")
    return value


def _identifier(value: object, path: str) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or _KEY.fullmatch(text) is None:
        raise InvalidRequestError(f"{path}: must be 1 to 255 letters, digits, _ or -")
    return text
