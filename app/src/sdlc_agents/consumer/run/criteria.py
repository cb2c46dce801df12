"""The acceptance criteria in a ticket's description, where it has such a section."""

import re

_HEADING_CHARACTERS = 200
# No two neighbours in it take the same letters: a line is tried in one way only, and so in no time.
_HEADING = re.compile(
    r"^[\s#*_=\-]*(?:h[1-6]\.[*_\s]*)?"
    r"(acceptance\s+criteria|acceptance\s+tests?|ac|definition\s+of\s+done|akzeptanzkriterien|abnahmekriterien"
    r"|crit[èe]res?\s+d['\u2019]acceptation|criterios?\s+de\s+aceptaci[óo]n)"
    r"[\s*_]*(?::(?P<rest>.*)|[=#-][\s*_=#-]*)?$",
    re.IGNORECASE,
)
_OTHER_HEADING = re.compile(r"^\s*(?:#{2,6}\s+\S|h[1-6]\.\s*\S|\*[^*]+\*:?\s*$|[A-Z][\w /-]{1,40}:\s*$)")
_STEP = re.compile(
    r"^[\s*\-•#\d.)]*(given|when|then|angenommen|wenn|dann|[ée]tant\s+donn\w*|quand|alors|dad[oa]s?|cuando|entonces)\b",
    re.IGNORECASE,
)
_LEAST_STEPS = 2
_GO_ON = re.compile(
    r"^[\s*\-•]*(and|but|und|aber|et|mais|y|pero|scenario|szenario|sc[ée]nario|escenario)\b", re.IGNORECASE
)


def acceptance_criteria(description: str) -> str:
    """The section under such a heading (English, German, French, Spanish), else its Given-When-Then lines, else ""."""
    lines = description.splitlines()
    for number, line in enumerate(lines):
        heading = _HEADING.match(line[:_HEADING_CHARACTERS])
        if heading:
            section = [(heading["rest"] or "").strip(" *_")]
            for index in range(number + 1, len(lines)):
                following = lines[index]
                # In Jira's own markup `# ` numbers a list, in Markdown it is a heading.
                markdown = line.startswith("#") and following.startswith("# ")
                other = markdown or _OTHER_HEADING.match(following[:_HEADING_CHARACTERS])
                if other and not _is_step(following):
                    break
                section.append(following.rstrip())
            if text := "\n".join(section).strip():
                return text
    steps = [line.rstrip() for line in lines if _STEP.match(line[:_HEADING_CHARACTERS])]
    if len(steps) < _LEAST_STEPS:
        return ""
    return "\n".join(line.rstrip() for line in lines if _is_step(line))


def _is_step(line: str) -> bool:
    return bool(_STEP.match(line[:_HEADING_CHARACTERS]) or _GO_ON.match(line[:_HEADING_CHARACTERS]))
