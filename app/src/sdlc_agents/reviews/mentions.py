"""Whether a comment speaks to somebody: a mention as forges understand it, in what its author wrote for people."""

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_QUOTED = re.compile(r"^ {0,3}>")
_HIDDEN = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_CODE = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n[ \t]*\n).)*?(?<!`)\1(?!`)", re.DOTALL)
_CHARACTERS = 100_000
_APPLICATION = "[bot]"


def mentions(body: str, name: str) -> bool:
    """Whether `body` (Markdown) mentions the user `name`, in any case.

    Code, quoted lines and hidden text do not count, nor does the name in an e-mail address, a path or a longer name.
    The user name of a GitHub app ends with `[bot]`, which its mention does not.
    """
    if not name:
        return False
    plain = re.escape(name.removesuffix(_APPLICATION))
    mention = re.compile(rf"(?<![\w@.+/`-])@{plain}(?![\w@/-]|\.\w)", re.IGNORECASE)
    return mention.search(_CODE.sub(" ", _HIDDEN.sub(" ", _outside_blocks(body[:_CHARACTERS])))) is not None


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
