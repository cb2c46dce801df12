"""Atlassian Document Format to Markdown."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdlc_agents.kernel.errors import InvalidRequestError
from sdlc_agents.webhooks.adf import to_markdown


def doc(*content: Any) -> dict[str, Any]:
    return {"version": 1, "type": "doc", "content": list(content)}


def node(kind: str, *content: Any, **attrs: Any) -> dict[str, Any]:
    return {"type": kind, "content": list(content), "attrs": attrs}


def text(value: str, *marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, "marks": [{"type": m} if isinstance(m, str) else m for m in marks]}


def paragraph(*content: Any) -> dict[str, Any]:
    return node("paragraph", *content)


ITEM = node("listItem", paragraph(text("one")))
NESTED = node("listItem", paragraph(text("two")), node("bulletList", node("listItem", paragraph(text("inner")))))


@pytest.mark.parametrize(
    ("content", "markdown"),
    [
        ([], ""),
        ([paragraph(text("a")), paragraph(text("b"))], "a\n\nb"),
        ([paragraph(text("x", "strong", "em", "strike"))], "~~***x***~~"),
        ([paragraph(text("f(x)", "strong", "code"))], "**`f(x)`**"),
        ([paragraph(text("x", {"type": "link", "attrs": {"href": "https://e.org"}}))], "[x](https://e.org)"),
        ([paragraph(text("a"), {"type": "hardBreak"}, text("b"))], "a  \nb"),
        ([node("heading", text("T"), level=3)], "### T"),
        ([node("bulletList", ITEM, NESTED)], "- one\n- two\n  - inner"),
        ([node("orderedList", ITEM, NESTED, order=3)], "3. one\n4. two\n   - inner"),
        ([node("codeBlock", text("a = 1\n"), language="python")], "```python\na = 1\n\n```"),
        ([node("codeBlock", text("```"))], "````\n```\n````"),
        ([node("blockquote", paragraph(text("a")), paragraph(text("b")))], "> a\n>\n> b"),
        ([node("panel", paragraph(text("note")), panelType="info")], "> note"),
        ([node("rule")], "---"),
        ([node("expand", paragraph(text("in")), title="More")], "**More**\n\nin"),
        (
            [node("taskList", node("taskItem", text("a"), state="DONE"), node("taskItem", text("b"), state="TODO"))],
            "- [x] a\n- [ ] b",
        ),
        (
            [
                node(
                    "table",
                    node("tableRow", node("tableHeader", paragraph(text("h|1"))), node("tableHeader")),
                    node("tableRow", node("tableCell", paragraph(text("c"))), node("tableCell", paragraph(text("d")))),
                )
            ],
            "| h\\|1 |  |\n| --- | --- |\n| c | d |",
        ),
        ([paragraph(node("mention", text="@Ada"), text(" "), node("emoji", shortName=":smile:"))], "@Ada :smile:"),
        ([paragraph(node("date", timestamp="1772582400000"))], "2026-03-04"),
        ([paragraph(node("date", timestamp="soon"), node("date", timestamp="9" * 30))], "soon" + "9" * 30),
        ([paragraph(node("date", timestamp="9" * 400), node("date"))], "9" * 400),
        ([paragraph(node("date", timestamp="9" * 5000))], "9" * 5000),
        ([paragraph(node("inlineCard", url="https://e.org/1"))], "<https://e.org/1>"),
        ([node("mediaSingle", node("media", id="6e7c", alt="plan.png"))], "[attachment plan.png]"),
        ([node("newNodeOfNextYear", paragraph(text("kept")))], "kept"),
        ([paragraph(node("newInline", text("kept")))], "kept"),
    ],
)
def test_a_document_as_markdown(content: list[Any], markdown: str) -> None:
    assert to_markdown(doc(*content)) == markdown


@pytest.mark.parametrize("kind", ["blockquote", "bulletList", "taskList", "table", "paragraph", "unknown"])
def test_a_document_nested_without_end_is_refused(kind: str) -> None:
    nested: dict[str, Any] = paragraph(text("x"))
    for _ in range(900):
        nested = node(kind, nested)
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        to_markdown(doc(nested))


KINDS = [
    "paragraph",
    "heading",
    "bulletList",
    "listItem",
    "text",
    "table",
    "tableRow",
    "taskList",
    "codeBlock",
    "media",
]
NODES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5)),
    lambda children: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(KINDS) | children,
            "text": st.text(max_size=5) | children,
            "content": st.lists(children, max_size=3) | children,
            "marks": st.lists(children, max_size=2) | children,
            "attrs": st.dictionaries(st.sampled_from(["level", "href", "order", "state", "url"]), children) | children,
        },
    ),
    max_leaves=15,
)


@given(content=st.lists(NODES, max_size=4))
def test_any_document_becomes_text(content: list[Any]) -> None:
    assert isinstance(to_markdown(doc(*content)), str)


def nested(kind: str, levels: int, inner: dict[str, Any]) -> dict[str, Any]:
    for _ in range(levels):
        inner = node(kind, inner)
    return inner


WIDE = node(
    "table",
    node("tableRow", *[node("tableCell") for _ in range(5000)]),
    *[node("tableRow", node("tableCell", paragraph(text("x")))) for _ in range(5000)],
)
GROWING = {
    "a table of one wide row and many short ones": [WIDE],
    "quotes of many lines in one another": [nested("blockquote", 90, paragraph(text("\n" * 100_000)))],
    "many of them side by side": [nested("blockquote", 90, paragraph(text("\n" * 5_000))) for _ in range(60)],
    "lists of many lines in one another": [
        nested("bulletList", 1, nested("listItem", 45, nested("bulletList", 1, paragraph(text("\n" * 100_000)))))
    ]
    * 30,
}


@pytest.mark.parametrize("content", GROWING.values(), ids=GROWING.keys())
@pytest.mark.timeout(10)
def test_a_document_that_grows_without_end_is_refused(content: list[Any]) -> None:
    with pytest.raises(InvalidRequestError, match="longer than"):
        to_markdown(doc(*content))


SLOW = {
    "a code block of backticks": ([node("codeBlock", text("`" * 300_000))], 900_004),
    "a text with many marks": ([paragraph(text("x", *(["em", "code", "strong"] * 30_000)))], 9),
}


@pytest.mark.parametrize(("content", "length"), SLOW.values(), ids=SLOW.keys())
@pytest.mark.timeout(5)
def test_a_large_document_takes_time_in_proportion(content: list[Any], length: int) -> None:
    assert len(to_markdown(doc(*content))) == length


@given(content=st.lists(NODES, max_size=4))
def test_a_document_gives_the_same_text_again_and_stays_as_it_was(content: list[Any]) -> None:
    before = copy.deepcopy(content)
    assert to_markdown(doc(*content)) == to_markdown(doc(*content))
    assert content == before


def size(value: Any) -> int:
    """How many characters and nodes a document has."""
    if isinstance(value, dict):
        return 1 + sum(len(key) + size(inner) for key, inner in value.items())
    if isinstance(value, list):
        return 1 + sum(map(size, value))
    return len(str(value))


@given(content=st.lists(NODES, max_size=4))
def test_a_document_of_few_levels_does_not_grow_much(content: list[Any]) -> None:
    assert len(to_markdown(doc(*content))) <= 20 * size(content)
