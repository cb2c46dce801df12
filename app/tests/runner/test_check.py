"""The project's check on the agent's work, and the one repair round: the runner a process, Claude Code the real one."""

from pathlib import Path
from typing import Any

import pytest

from runner.client import BRANCH, Client, alive
from support.repositories import commit, git

pytestmark = pytest.mark.timeout(120)


def attempts(*commands: str) -> str:
    """A prompt that makes the scripted model run the first command, and the next when it is asked to repair."""
    return "[[lab:repair]]\n" + "".join(f"```bash\n{command}\n```\n" for command in commands)


def checked(command: str, seconds: float = 30) -> dict[str, Any]:
    return {"command": command, "timeout_seconds": seconds}


def checks(client: Client) -> list[dict[str, Any]]:
    return [event for event in client.events if event["type"] == "check"]


async def test_a_check_that_passes_is_told_and_asks_for_no_repair(client: Client, repository: Path) -> None:
    await client.run(prompt=attempts("echo good > state"), check=checked("cat state && grep -q good state"))
    (check,) = checks(client)
    assert (check["round"], check["passed"], check["exit_status"], check["timed_out"]) == (1, True, 0, False)
    assert check["output"].strip() == "good"
    assert check["command"] == "cat state && grep -q good state"
    end = client.events[-1]
    assert (end["type"], end["check"], end["repair_failed"]) == ("finished", "passed", None)
    assert git(repository, "show", f"{await client.result(repository)}:state") == "good"


async def test_a_check_that_fails_gets_one_repair_in_the_same_session_and_passes(
    client: Client, repository: Path
) -> None:
    await client.run(
        prompt=attempts("echo bad > state", "echo good > state"),
        check=checked("echo a-word-from-the-check; grep -q good state"),
    )
    first, second = checks(client)
    assert (first["round"], first["passed"], first["exit_status"]) == (1, False, 1)
    assert (second["round"], second["passed"]) == (2, True)
    end = client.events[-1]
    assert (end["type"], end["check"], end["repair_failed"]) == ("finished", "passed", None), end
    assert end["turns"] == 4, "the turns of both rounds"
    assert "Attempt 1 is made." in end["text"]
    assert "Attempt 2 is made." in end["text"]
    assert [event["type"] for event in client.events].count("started") == 1
    result = await client.result(repository)
    assert git(repository, "show", f"{result}:state") == "good"
    assert len(git(repository, "log", "--format=%h", f"main..{result}").splitlines()) == 2
