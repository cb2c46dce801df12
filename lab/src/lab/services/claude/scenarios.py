"""The scripts. `[[lab:NAME key=value …]]` in the prompt (a ticket's description, say) chooses one.

| marker | what the model does |
| --- | --- |
| none, or `default` | looks around, reads a file, changes it (or writes one), runs the tests, sums up |
| `nothing` | answers at once and changes nothing |
| `bash` | runs the first fenced code block; `anyway=1`: also if not offered; `background=1`: does not wait for it |
| `write path=NAME` | writes the prompt's first fenced code block to that path, with the tool for it |
| `tools` | answers with the names of the tools on offer |
| `repair` | as bash; asked again in the same session, runs the next code block, the last again and again |
| `big mib=4` | leaves a file of that many MiB of random bytes in the work tree |
| `endless kib=0` | runs `true`, with a comment of so many KiB behind it, again and again and never finishes |
| `slow seconds=5` | as default, but waits so long before each answer, sending pings |
| `cut` | breaks the connection in the middle of every answer |
| `error status=429 retry-after=1 times=2` | so many errors (429, 500, 529), then as default; without `times`, always |

Every script takes `input-tokens=N` and `output-tokens=N`: the usage that each answer claims.
A script is a function of the conversation alone: a restart loses nothing, and requests that offer no
tools (titles, summaries) are answered with a line of text and use up no step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from lab.services.claude.conversation import Conversation

_FENCE = re.compile(r"```[a-z]*\n(.*?)```", re.DOTALL)
_TICKET = re.compile(r"\b([A-Z][A-Z0-9_]+-\d+)\b")
_RESULT_LIMIT = 8000

CART_ANCHOR = "            amount += self._prices[name] * quantity\n        return amount\n"
CART_CHANGE = '''            amount += self._prices[name] * quantity
        return amount

    def discounted_total(self, percent: int) -> Money:
        """The total with `percent` taken off, rounded down to a cent; ValueError unless 0 to 100."""
        if not 0 <= percent <= 100:
            raise ValueError("percent must be between 0 and 100")
        return Money(self.total().cents * (100 - percent) // 100)
'''
DISCOUNT_TEST = '''"""A cart can take a percentage off its total."""

from __future__ import annotations

import unittest

from shop import Cart, Money


class DiscountTest(unittest.TestCase):
    def setUp(self) -> None:
        self.cart = Cart()
        self.cart.add("tea", Money(999))

    def test_ten_percent_off_rounds_down_to_a_cent(self) -> None:
        self.assertEqual(self.cart.discounted_total(10), Money(899))

    def test_more_than_everything_cannot_be_taken_off(self) -> None:
        with self.assertRaises(ValueError):
            self.cart.discounted_total(101)


if __name__ == "__main__":
    unittest.main()
'''
RUN_TESTS = "PYTHONPATH=src:. python3 -m unittest discover -s tests"


@dataclass(frozen=True)
class Turn:
    """What the model says, and the one tool it wants, if any."""

    text: str
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _bash(text: str, command: str, description: str) -> Turn:
    return Turn(text, "Bash", {"command": command, "description": description})


def _summary(last: str) -> Turn:
    passed = "OK" in last and "FAILED" not in last
    tests = "The tests pass." if passed else "I could not get the tests to pass here."
    return Turn(f"Done. I made the change that the ticket asks for and tested it. {tests}")


def default(conversation: Conversation) -> Turn:
    """Look, read, change, test, finish: the work that a real ticket needs, on a tree of any shape."""
    steps = conversation.steps
    if not steps:
        return _bash(
            "I'll look at the repository first.",
            "pwd; git ls-files 2>/dev/null || ls",
            "List the work tree's files",
        )
    lines = steps[0].result.strip().splitlines()
    root, files = (lines[0].strip(), [line.strip() for line in lines[1:]]) if lines else (".", [])
    is_shop = "src/shop/cart.py" in files
    readme = next((name for name in files if name.lower() == "readme.md"), files[0] if files else "")
    if len(steps) == 1 and (is_shop or readme):
        name = "src/shop/cart.py" if is_shop else readme
        return Turn(f"Let me read {name}.", "Read", {"file_path": f"{root}/{name}"})
    changing = is_shop and "discounted_total" not in steps[1].result
    return _feature(conversation, root) if changing else _note(conversation, root, 2 if readme else 1)


def _feature(conversation: Conversation, root: str) -> Turn:
    steps = conversation.steps
    if len(steps) == 2:
        return Turn(
            "The cart has no discount yet. I'll add one next to the total.",
            "Edit",
            {"file_path": f"{root}/src/shop/cart.py", "old_string": CART_ANCHOR, "new_string": CART_CHANGE},
        )
    if len(steps) == 3:
        return Turn(
            "Now a test for it.",
            "Write",
            {"file_path": f"{root}/tests/test_discount.py", "content": DISCOUNT_TEST},
        )
    if len(steps) == 4:
        return _bash("Now all tests.", RUN_TESTS, "Run the tests")
    return _summary(steps[4].result)


def _note(conversation: Conversation, root: str, before: int) -> Turn:
    """In a tree that no script knows: one new file named after the ticket."""
    steps = conversation.steps
    found = _TICKET.search(conversation.prompt)
    name = found.group(1) if found else "TICKET"
    if len(steps) == before:
        body = f"# {name}\n\nWritten by the lab's scripted model; no language model was asked.\n"
        return Turn(
            "I'll write down what this ticket changes.",
            "Write",
            {"file_path": f"{root}/notes/{name}.md", "content": body},
        )
    if len(steps) == before + 1:
        command = f"if [ -d tests ]; then {RUN_TESTS}; else ls notes; echo OK; fi"
        return _bash("Now the tests.", command, "Run the tests, where there are any")
    return _summary(steps[-1].result)


def nothing(conversation: Conversation) -> Turn:
    """Finish without a change."""
    del conversation
    return Turn("There is nothing to change: the code does this already.")


def bash(conversation: Conversation) -> Turn:
    """Run the prompt's first code block."""
    if conversation.steps:
        return Turn(f"It printed:\n\n{conversation.steps[0].result[:_RESULT_LIMIT] or '(nothing)'}")
    turn = _bash("Running the ticket's command.", _block(conversation).strip(), "Run the ticket's command")
    if conversation.marker.number("background", 0):
        return replace(turn, arguments={**turn.arguments, "run_in_background": True})
    return turn


def write(conversation: Conversation) -> Turn:
    """Write the prompt's first code block to a file."""
    path = conversation.marker.settings.get("path", "")
    if not path:
        raise ValueError("the script 'write' needs a path: [[lab:write path=NAME]]")
    if conversation.steps:
        return Turn(f"It said:\n\n{conversation.steps[0].result[:_RESULT_LIMIT]}")
    return Turn(f"I'll write {path}.", "Write", {"file_path": path, "content": _block(conversation)})


def _block(conversation: Conversation) -> str:
    found = _FENCE.search(conversation.prompt)
    if not found:
        raise ValueError(f"the script {conversation.marker.name!r} needs a fenced code block in the prompt")
    return found.group(1)


def tools(conversation: Conversation) -> Turn:
    """Say what could be used."""
    return Turn(f"On offer: {' '.join(sorted(conversation.tools))}")


def repair(conversation: Conversation) -> Turn:
    """A code block for each time that the model is asked."""
    blocks = _FENCE.findall(conversation.prompt)
    if not blocks:
        raise ValueError("the script 'repair' needs fenced code blocks in the prompt")
    if len(conversation.steps) > conversation.ends:
        return Turn(f"Attempt {conversation.ends + 1} is made.")
    return _bash("Running the next command.", blocks[min(conversation.ends, len(blocks) - 1)].strip(), "Next command")


def big(conversation: Conversation) -> Turn:
    """Leave a big file that does not compress."""
    size = conversation.marker.number("mib", 4)
    if conversation.steps:
        return Turn(f"I added big.bin, {size} MiB.")
    return _bash("Making the file.", f"head -c {size * 1024 * 1024} /dev/urandom > big.bin", "Make big.bin")


def endless(conversation: Conversation) -> Turn:
    """Never finish."""
    comment = "x" * (conversation.marker.number("kib", 0) * 1024)
    command = f"true # {comment}" if comment else "true"
    return _bash(f"Once more ({len(conversation.steps) + 1}).", command, "Do nothing")


SCRIPTS: Mapping[str, Callable[[Conversation], Turn]] = MappingProxyType(
    {
        "default": default,
        "slow": default,
        "cut": default,
        "error": default,
        "nothing": nothing,
        "bash": bash,
        "write": write,
        "tools": tools,
        "repair": repair,
        "big": big,
        "endless": endless,
    }
)


def play(conversation: Conversation) -> Turn:
    """The next turn of the conversation's script; ValueError for a marker that makes no sense."""
    marker = conversation.marker
    script = SCRIPTS.get(marker.name)
    if script is None:
        raise ValueError(f"the lab has no script {marker.name!r}")
    if not conversation.tools:
        return Turn("The lab's scripted model.")
    turn = script(conversation)
    if turn.tool and turn.tool not in conversation.tools and not marker.number("anyway", 0):
        return Turn(f"I would need the tool {turn.tool}, which is not on offer.")
    return turn
