"""Whether a comment speaks to somebody: a mention as forges understand it, in what its author wrote for people."""

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_QUOTED = re.compile(r"^ {0,3}>")
_HIDDEN = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_TICKS_OR_BLANK_LINE = re.compile(r"`+|\n[ \t]*\n")
_CHARACTERS = 100_000
_APPLICATION = "[bot]"


def mentions(body: str, name: str) -> bool:
    """Whether `body` (Markdown) mentions the user `name`, in any case.

    Code, quoted lines and hidden text do not count, nor does the name in an e-mail address, a path or a longer name.
    The user name of a GitHub app ends with `[bot]`, which its mention does not.
    """
    if not name:
        return False
    said = body[:_CHARACTERS]
    plain = re.escape(name.removesuffix(_APPLICATION))
    # Most comments mention nobody: these need not be taken apart.
    if re.search(f"@{plain}", said, re.IGNORECASE) is None:
        return False
    mention = re.compile(rf"(?<![\w@.+/`-])@{plain}(?![\w@/-]|\.\w)", re.IGNORECASE)
    return mention.search(_outside_spans(_HIDDEN.sub(" ", _outside_blocks(said)))) is not None


def _outside_blocks(body: str) -> str:
    """The lines that stand neither in a fenced block of code nor in a quotation.

    https://spec.commonmark.org/0.31.2/#fenced-code-blocks: a block ends with a fence as long as its first, or never.
    """
    kept: list[str] = []
    fence = ""
    for line in body.splitlines():
        found = _FENCE.match(line)
        marks, rest = found.groups() if found else ("", "")
        if fence:
            if marks.startswith(fence) and not rest.strip():
                fence = ""
        elif marks and not (marks[0] == "`" and "`" in rest):
            fence = marks
        elif not _QUOTED.match(line):
            kept.append(line)
    return "\n".join(kept)


def _outside_spans(text: str) -> str:
    """The text with a blank for each span of code.

    https://spec.commonmark.org/0.31.2/#code-spans: backticks begin a span when as many follow in the same paragraph,
    and the first that do end it. Read from the end on, a span's end is known where it begins: a search for each would
    take a time that grows faster than the text, and everyone may write texts.
    """
    ends: dict[int, int] = {}
    following: dict[int, int] = {}
    for found in reversed(list(_TICKS_OR_BLANK_LINE.finditer(text))):
        if found[0].startswith("\n"):
            following.clear()
            continue
        length = len(found[0])
        if length in following:
            ends[found.start()] = following[length]
        following[length] = found.end()
    kept: list[str] = []
    position = 0
    for begin in reversed(ends):
        if begin >= position:
            kept.append(text[position:begin])
            position = ends[begin]
    return " ".join([*kept, text[position:]])
