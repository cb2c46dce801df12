"""What people read about a project's check; whatever it printed, it stays text."""

from typing import Any

import pytest

from sdlc_agents.consumer.reporting.check_result import check_markdown, check_sentence, kept_check
from sdlc_agents.kernel.clock import now
from sdlc_agents.runs.protocol import Check, CheckRequest, Finished

PASSED: dict[str, Any] = {
    "command": "make test",
    "result": "passed",
    "exit_status": 0,
    "seconds": 12.3,
    "round": 1,
    "repair_failed": None,
    "output": "ok",
}
REPAIRED = {"result": "failed", "round": 2}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "make test passed in 12 s"),
        ({"round": 2}, "make test passed in 12 s after one repair round"),
        (REPAIRED | {"exit_status": 2}, "make test failed (exit 2) after one repair round"),
        (
            {"result": "failed", "exit_status": 127},
            "make test failed (exit 127: a program is missing in the sandbox; app_agent_runner_packages adds it)",
        ),
        (REPAIRED | {"exit_status": -9}, "make test failed (signal 9) after one repair round"),
        (REPAIRED | {"exit_status": None}, "make test failed (it was stopped) after one repair round"),
        (
            {"result": "failed", "exit_status": 2, "repair_failed": "turn_limit"},
            "make test failed (exit 2); a repair round came to nothing: the run's turns were used up",
        ),
        (
            {"result": "timed_out", "exit_status": None, "seconds": 600, "repair_failed": "model_error"},
            "make test did not end within 10 min 0 s; a repair round came to nothing: it ended with model_error",
        ),
    ],
)
def test_a_check_is_told_in_a_sentence(change: dict[str, Any], expected: str) -> None:
    assert check_sentence(PASSED | change) == expected


def test_a_check_that_passes_is_one_line() -> None:
    assert check_markdown(PASSED) == "Checks: `make test` passed in 12 s"


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("echo `date`", "`` echo `date` ``"),
        ("`x", "`` `x ``"),
        ("a ``` b", "````a ``` b````"),
        ("a\n\n# b @demo", "`a # b @\u200bdemo`"),
    ],
)
def test_a_command_stays_code_in_its_line(command: str, shown: str) -> None:
    assert check_markdown(PASSED | {"command": command}).splitlines()[0] == f"Checks: {shown} passed in 12 s"


def test_output_cannot_end_its_own_quotation() -> None:
    output = "```\n</details>\n`````\n@demo\n\x1b[31mred"
    lines = check_markdown(PASSED | {"result": "failed", "exit_status": 1, "output": output}).splitlines()
    fences = [line for line in lines if line.startswith("``````")]
    assert fences == ["``````text", "``````"]
    inside = lines[lines.index("``````text") + 1 : lines.index("``````")]
    assert "</details>" in inside
    assert "@\u200bdemo" in inside
    assert not any("\x1b" in line for line in inside)


def test_long_output_is_shown_from_its_end() -> None:
    text = check_markdown(PASSED | {"result": "failed", "exit_status": 1, "output": "x" * 9000 + " the end"})
    assert "the end" in text
    assert len(text) < 4000


def test_what_is_kept_has_no_secrets_and_is_of_the_check_that_was_asked_for() -> None:
    asked = CheckRequest(command="curl -H secret-1", timeout_seconds=1)
    check = Check(
        at=now(),
        round=1,
        command="something else",
        passed=False,
        exit_status=1,
        timed_out=False,
        seconds=1,
        output="secret-1 printed",
    )
    finished = Finished(at=now(), text="", turns=1, duration_seconds=1, changed=True, repair_failed="time_limit")
    kept = kept_check(asked, check, finished, lambda text: text.replace("secret-1", "[hidden]"))
    assert kept is not None
    assert (kept["command"], kept["output"]) == ("curl -H [hidden]", "[hidden] printed")
    assert kept["repair_failed"] == "time_limit"
    assert kept_check(asked, None, finished, str) is None
    assert kept_check(None, check, finished, str) is None
