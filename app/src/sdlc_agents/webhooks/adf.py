"""Atlassian Document Format to Markdown.

https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/ — Jira Cloud's description. Nodes that
Markdown has no words for keep their text; unknown ones keep their children's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from sdlc_agents.kernel.errors import InvalidRequestError

Node = Mapping[str, Any]

MAX_DEPTH = 100
MAX_CHARACTERS = 1024 * 1024
"""Of the Markdown: quotes, lists and tables repeat signs, so that a small document can be a large text."""

_SIGNS = {"code": "`", "strong": "**", "em": "*", "strike": "~~"}  # from the innermost
_BACKTICKS = re.compile("`+")


def to_markdown(document: Node) -> str:
    """The document as Markdown.

    Raises `InvalidRequestError` when it is nested deeper than `MAX_DEPTH` or longer than `MAX_CHARACTERS`.
    """
    return _blocks(document, 0).strip("\n")


def _children(node: Node) -> list[Node]:
    content = node.get("content")
    return [child for child in content if isinstance(child, Mapping)] if isinstance(content, list) else []


def _kind(node: Node) -> str:
    kind = node.get("type")
    return kind if isinstance(kind, str) else ""


def _attribute(node: Node, *names: str) -> str:
    attributes = node.get("attrs")
    if isinstance(attributes, Mapping):
        for name in names:
            value = attributes.get(name)
            if isinstance(value, str | int) and not isinstance(value, bool):
                return str(value)
    return ""


def _text(node: Node) -> str:
    text = node.get("text")
    return text if isinstance(text, str) else ""


def _joined(separator: str, parts: Iterable[str]) -> str:
    """The parts in one text, given up as soon as it is too long."""
    kept: list[str] = []
    size = 0
    for part in parts:
        size += len(part) + len(separator)
        _check_size(size)
        kept.append(part)
    return separator.join(kept)


def _marked(node: Node) -> str:
    text = _text(node)
    marks = node.get("marks")
    if not text.strip() or not isinstance(marks, list):
        return text
    given = [mark for mark in marks if isinstance(mark, Mapping)]
    kinds = {_kind(mark) for mark in given}
    for kind, sign in _SIGNS.items():
        if kind in kinds:
            text = f"{sign}{text}{sign}"
    target = next(filter(None, (_attribute(mark, "href") for mark in given if _kind(mark) == "link")), "")
    return f"[{text}]({target})" if target else text


def _inline(node: Node, depth: int) -> str:
    as_text = _INLINE.get(_kind(node))
    return as_text(node) if as_text is not None else _inlines(node, depth + 1)


def _break(_node: Node) -> str:
    return "  \n"


def _name(node: Node) -> str:
    return _attribute(node, "text", "shortName")


def _media(node: Node) -> str:
    return f"[attachment {_attribute(node, 'alt', 'id')}]".replace(" ]", "]")


def _date(node: Node) -> str:
    """The day, in UTC, of milliseconds since 1970; what is no such time stays as it is."""
    milliseconds = _attribute(node, "timestamp")
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return milliseconds


def _link(node: Node) -> str:
    url = _attribute(node, "url")
    return f"<{url}>" if url else ""


def _inlines(node: Node, depth: int) -> str:
    _check(depth)
    return _joined("", (_inline(child, depth) for child in _children(node)))


def _check(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidRequestError(f"issue.fields.description: nested deeper than {MAX_DEPTH} levels")


def _check_size(characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise InvalidRequestError(f"issue.fields.description: longer than {MAX_CHARACTERS} characters as Markdown")


def _blocks(node: Node, depth: int, separator: str = "\n\n") -> str:
    _check(depth)
    return _joined(separator, filter(None, (_block(child, depth + 1) for child in _children(node))))


def _indent(text: str, first: str, rest: str) -> str:
    return first + text.replace("\n", "\n" + rest).replace(f"\n{rest}\n", "\n\n")


def _heading(node: Node, depth: int) -> str:
    level = _attribute(node, "level")
    return "#" * (int(level) if level in set("123456") else 1) + " " + _inlines(node, depth)


def _code(node: Node, _depth: int) -> str:
    code = "".join(_text(child) for child in _children(node))
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(code)), default=0))
    return f"{fence}{_attribute(node, 'language')}\n{code}\n{fence}"


def _quote(node: Node, depth: int) -> str:
    return "\n".join(f"> {line}".rstrip() for line in _blocks(node, depth).split("\n"))


def _bullets(node: Node, depth: int) -> str:
    return _joined("\n", (_indent(_blocks(item, depth + 1, "\n"), "- ", "  ") for item in _children(node)))


def _numbers(node: Node, depth: int) -> str:
    start = _attribute(node, "order")
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 1  # noqa: PLR2004
    return _joined(
        "\n",
        (
            _indent(_blocks(item, depth + 1, "\n"), f"{number}. ", "   ")
            for number, item in enumerate(_children(node), first)
        ),
    )


def _tasks(node: Node, depth: int) -> str:
    _check(depth)
    return _joined("\n", (_task(item, depth + 1) for item in _children(node)))


def _task(item: Node, depth: int) -> str:
    if _kind(item) in {"taskList", "decisionList"}:
        return _indent(_tasks(item, depth), "  ", "  ")
    done = _attribute(item, "state") in {"DONE", "DECIDED"}
    return f"- [{'x' if done else ' '}] {_inlines(item, depth)}"


def _table(node: Node, depth: int) -> str:
    rows = [
        [_blocks(cell, depth + 2, " ").replace("\n", " ").replace("|", "\\|") for cell in _children(row)]
        for row in _children(node)
    ]
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    rule = "|" + " --- |" * width
    lines = ("| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in rows)
    return _joined("\n", chain([next(lines), rule], lines))


def _expand(node: Node, depth: int) -> str:
    title = _attribute(node, "title")
    return "\n\n".join(filter(None, (f"**{title}**" if title else "", _blocks(node, depth))))


def _rule(_node: Node, _depth: int) -> str:
    return "---"


_BLOCKS: dict[str, Callable[[Node, int], str]] = {
    "paragraph": _inlines,
    "heading": _heading,
    "codeBlock": _code,
    "blockquote": _quote,
    "panel": _quote,
    "bulletList": _bullets,
    "orderedList": _numbers,
    "taskList": _tasks,
    "decisionList": _tasks,
    "table": _table,
    "expand": _expand,
    "nestedExpand": _expand,
    "rule": _rule,
    "mediaGroup": _inlines,
    "mediaSingle": _inlines,
}
_INLINE: dict[str, Callable[[Node], str]] = {
    "text": _marked,
    "hardBreak": _break,
    "inlineCard": _link,
    "blockCard": _link,
    "embedCard": _link,
    "mention": _name,
    "emoji": _name,
    "status": _name,
    "date": _date,
    "media": _media,
}


def _block(node: Node, depth: int) -> str:
    kind = _kind(node)
    return _inline(node, depth) if kind in _INLINE else _BLOCKS.get(kind, _blocks)(node, depth)
