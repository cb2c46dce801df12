"""What the project's check came to, as it is kept and as people read it. What it printed is never more than text."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from sdlc_agents.runs.figures import duration
from sdlc_agents.runs.harmless import harmless
from sdlc_agents.runs.protocol import Check, CheckRequest, Finished

_KEPT_CHARACTERS = 8000
_SHOWN_CHARACTERS = 3000
_TICKS = re.compile(r"`+")
_CONTROL = re.compile(r"[^\S\n\t ]|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_NOT_FOUND = 127
"""A shell's exit status for a command that it does not find."""
_REASONS = {
    "time_limit": "the run's time was over",
    "turn_limit": "the run's turns were used up",
    "cost_limit": "the run's budget was spent",
}


def kept_check(
    asked: CheckRequest | None, check: Check | None, finished: Finished, redact: Callable[[str], str]
) -> dict[str, Any] | None:
    """The field `check` of a development; None where no check was asked for, or none was run."""
    if asked is None or check is None:
        return None
    return {
        "command": redact(asked.command),
        "result": check.result,
        "exit_status": check.exit_status,
        "seconds": check.seconds,
        "round": check.round,
        "repair_failed": finished.repair_failed,
        "output": redact(check.output)[-_KEPT_CHARACTERS:],
    }


def check_sentence(check: Mapping[str, Any]) -> str:
    """`make test passed in 12 s`, in plain text."""
    return f"{_one_line(check['command'])} {_came_to(check)}"


def check_markdown(check: Mapping[str, Any]) -> str:
    """One line, and below it what a check that failed printed last, folded."""
    line = f"Checks: {_code(_one_line(check['command']))} {_came_to(check)}"
    output = harmless(_CONTROL.sub("", check["output"]).strip()[-_SHOWN_CHARACTERS:])
    if check["result"] == "passed" or not output:
        return line
    fence = "`" * max(3, _longest_ticks(output) + 1)
    return f"""\
{line}

<details><summary>What the check printed last</summary>

{fence}text
{output}
{fence}

</details>"""


def _came_to(check: Mapping[str, Any]) -> str:
    took = duration(check["seconds"])
    status = check["exit_status"]
    if check["result"] == "passed":
        words = f"passed in {took}"
    elif check["result"] == "timed_out":
        words = f"did not end within {took}"
    elif status is None:
        words = "failed (it was stopped)"
    elif status == _NOT_FOUND:
        words = "failed (exit 127: a program is missing in the sandbox; app_agent_runner_packages adds it)"
    else:
        words = f"failed ({f'exit {status}' if status >= 0 else f'signal {-status}'})"
    if check["round"] > 1:
        return f"{words} after one repair round"
    if check.get("repair_failed"):
        reason = _REASONS.get(check["repair_failed"], f"it ended with {check['repair_failed']}")
        return f"{words}; a repair round came to nothing: {reason}"
    return words


def _code(text: str) -> str:
    """As code in a line: https://spec.commonmark.org/0.31.2/#code-spans"""
    ticks = "`" * (_longest_ticks(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _longest_ticks(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)


def _one_line(text: str) -> str:
    return harmless(" ".join(_CONTROL.sub("", text).split()))
