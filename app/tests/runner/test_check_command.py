"""The project's check on the agent's work, and the one repair round: the runner a process, Claude Code the real one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runner.client import Client, alive, bash
from support.repositories import git

pytestmark = pytest.mark.timeout(180)

# What detaches itself from whatever started it, its id in the file.
DETACHED = "(setsid nohup sh -c 'echo $$ > {pid}; exec sleep 300' >/dev/null 2>&1 &)"


def attempts(*commands: str) -> str:
    """A prompt that makes the scripted model run the first command, and the next when it is asked to repair."""
    return "[[lab:repair]]\n" + "".join(f"```bash\n{command}\n```\n" for command in commands)


def checked(command: str, seconds: float = 30) -> dict[str, Any]:
    return {"command": command, "timeout_seconds": seconds}


def checks(client: Client) -> list[dict[str, Any]]:
    return [event for event in client.events if event["type"] == "check"]


def said(client: Client) -> str:
    return "\n".join(str(event.get("content", event.get("text", ""))) for event in client.events)


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
        check=checked("grep -q good state"),
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


async def test_a_check_that_fails_twice_withholds_nothing(client: Client, repository: Path) -> None:
    await client.run(prompt=attempts("echo 1 > state", "echo 2 > state"), check=checked("echo no; exit 3"))
    assert [(check["round"], check["exit_status"]) for check in checks(client)] == [(1, 3), (2, 3)]
    end = client.events[-1]
    assert (end["type"], end["changed"], end["check"], end["repair_failed"]) == ("finished", True, "failed", None)
    assert git(repository, "show", f"{await client.result(repository)}:state") == "2"


async def test_a_repair_that_uses_up_the_turns_leaves_the_work_as_it_was(client: Client, repository: Path) -> None:
    await client.run(prompt=attempts("echo 1 > state", "echo 2 > state"), check=checked("false"), max_turns=3)
    assert [check["round"] for check in checks(client)] == [1]
    end = client.events[-1]
    assert (end["type"], end["check"], end["repair_failed"]) == ("finished", "failed", "turn_limit"), end
    assert end["turns"] <= 4
    assert git(repository, "show", f"{await client.result(repository)}:state") == "1"


async def test_nothing_that_the_check_leaves_in_the_tree_is_committed(client: Client, repository: Path) -> None:
    leave = "mkdir -p build && echo x > build/output; echo x > report.xml; echo changed >> README.md; git add -A;"
    commit = "git -c user.name=c -c user.email=c@c commit -qm 'The checks own' ;"
    await client.run(
        prompt=attempts("echo 1 > state", "ls -R; cat README.md; git log --format=%s; echo 2 > state"),
        check=checked(f"{leave} {commit} echo y > later; exit 1"),
    )
    assert [check["round"] for check in checks(client)] == [1, 2], client.events[-1]
    result = await client.result(repository)
    assert set(git(repository, "diff", "--name-only", "main", result).splitlines()) == {"state"}
    assert git(repository, "show", f"{result}:state") == "2"
    repair = said(client).partition("Attempt 1 is made.")[2]
    for left in ("report.xml", "output", "changed", "later", "The checks own"):
        assert left not in repair


async def test_a_check_without_end_is_stopped_with_all_that_it_started(client: Client, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    await client.run(
        prompt="Do SHOP-1",
        check=checked(f"echo begun; {DETACHED.format(pid=pid)}; trap '' TERM; while :; do sleep 1; done", 3),
        max_turns=20,
    )
    first = checks(client)[0]
    assert (first["passed"], first["timed_out"], first["exit_status"]) == (False, True, None)
    assert first["output"].startswith("begun")
    assert "did not end within 3 seconds" in first["output"]
    assert (client.events[-1]["type"], client.events[-1]["check"]) == ("finished", "timed_out")
    assert not alive(pid)


async def test_what_a_check_leaves_running_does_not_hold_it_up_and_is_dead_at_the_end(
    client: Client, tmp_path: Path
) -> None:
    loud, quiet = tmp_path / "loud", tmp_path / "quiet"
    # One keeps the check's output open, one left its session and its parents.
    command = f"sh -c 'echo $$ > {loud}; exec sleep 300' & {DETACHED.format(pid=quiet)}; sleep 1"
    loop = asyncio.get_running_loop()
    began = loop.time()
    await client.run(prompt="Do SHOP-1", check=checked(command, 100))
    (check,) = checks(client)
    assert check["passed"]
    assert check["seconds"] < 60
    assert loop.time() - began < 120
    assert not alive(loud)
    assert not alive(quiet)


async def test_the_output_of_a_check_is_kept_at_both_ends_and_has_no_colours(client: Client) -> None:
    command = r"printf '\033[31mfirst\033[0m\n'; head -c 30000000 /dev/zero | tr '\0' x; echo; printf 'last\a\n'"
    await client.run(prompt="Do SHOP-1", check=checked(command))
    (check,) = checks(client)
    assert check["output"].startswith("first\n")
    assert check["output"].rstrip().endswith("last")
    assert "bytes left out" in check["output"]
    assert len(check["output"]) <= 16_384


async def test_a_check_finds_no_token_and_no_gateway_in_its_environment(client: Client) -> None:
    await client.run(prompt="Do SHOP-1", check=checked("env"))
    (check,) = checks(client)
    assert "HOME=" in check["output"]
    assert client.job["job_token"] not in check["output"]
    assert client.job["gateway_url"] not in check["output"]
    for name in ("ANTHROPIC", "CLAUDE", "JOB_DIR", "AGENT_RUNNER"):
        assert name not in check["output"]


async def test_a_check_has_no_more_time_than_the_job_has_left(client: Client) -> None:
    await client.run(prompt=bash("echo x > x"), check=checked("sleep 300", 300), timeout_seconds=30)
    end = client.events[-1]
    assert (end["type"], end["check"], end["repair_failed"]) == ("finished", "timed_out", "time_limit"), end
    assert end["duration_seconds"] < 40


async def test_without_a_change_nothing_is_checked(client: Client) -> None:
    await client.run(prompt="[[lab:nothing]]", check=checked("false"))
    assert not checks(client)
    assert (client.events[-1]["changed"], client.events[-1]["check"]) == (False, None)


async def test_a_job_that_is_cancelled_while_it_is_checked_ends_with_all_its_processes(
    client: Client, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"

    async def discard() -> None:
        while not pid.exists() or not pid.read_text().strip():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
        assert await client.discard() == 204

    discarding = asyncio.create_task(discard())
    await client.run(prompt="Do SHOP-1", check=checked(f"echo $$ > {pid}; sleep 300", 100))
    await discarding
    end = client.events[-1]
    assert (end["type"], end["reason"]) == ("failed", "cancelled")
    assert not alive(pid)
