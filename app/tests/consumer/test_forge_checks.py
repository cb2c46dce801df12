"""A project's own check, from its policy to the pull request, the ticket and the development."""

import re
from typing import Any

import pytest

from sdlc_agents.developments.schemas import DevelopmentOutput, TranscriptEventOutput
from support.agents import StartConsumer
from support.lab import JIRA_TOKEN
from support.world import World, bash, jira_with_a_ticket, told_ends

pytestmark = pytest.mark.timeout(240)


def attempts(*commands: str) -> str:
    """A ticket that makes the scripted model run the first command, and the next when it is asked to repair."""
    return "[[lab:repair]]\n" + "".join(f"```bash\n{command}\n```\n" for command in commands)


async def policy(world: World, **agent: Any) -> None:
    """Give the test's project this policy."""
    await world.db["projects"].update_one(
        {"jira_project_key": world.developments.project_key}, {"$set": {"agent": agent}}
    )


async def test_a_check_that_passes_stands_in_the_pull_request_and_the_development(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    await policy(world, check_command="test -s README.md", check_timeout_seconds=60)
    async with start_consumer():
        development_id = await world.queue("Please write it down.")
        document = await world.developments.ended(development_id, 200)
    assert document["status"] == "completed", document["error_message"]
    check = document["check"]
    assert (check["command"], check["result"], check["round"]) == ("test -s README.md", "passed", 1)
    assert (check["exit_status"], check["repair_failed"]) == (0, None)
    (pull_request,) = await repository.pull_requests()
    assert re.search(r"^Checks: `test -s README.md` passed in \d+ s$", pull_request["body"], re.MULTILINE)
    shown = DevelopmentOutput(id=document.pop("_id"), **document)
    assert shown.check is not None
    assert shown.check.result == "passed"
    event = await world.db["agent_events"].find_one({"development_id": development_id, "type": "check"})
    assert event is not None
    told = TranscriptEventOutput(id=str(event.pop("_id")), **event)
    assert (told.passed, told.round, told.command) == (True, 1, "test -s README.md")


async def test_a_repaired_failure_is_published_and_told_on_the_ticket(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    await policy(world, check_command="touch left-behind; grep -q good state")
    async with (
        jira_with_a_ticket() as (port, jira, key),
        start_consumer(EGRESS_PROXY_URL="", JIRA_API_URL=f"http://127.0.0.1:{port}", JIRA_API_TOKEN=JIRA_TOKEN),
    ):
        development_id = await world.developments.queue(attempts("echo bad > state", "echo good > state"))
        await world.db["developments"].update_one({"_id": development_id}, {"$set": {"jira_issue_key": key}})
        await world.send(development_id)
        document = await world.developments.ended(development_id, 200)
        assert document["status"] == "completed", document["error_message"]
        (told,) = await told_ends(jira, key)
    assert (document["check"]["result"], document["check"]["round"]) == ("passed", 2)
    assert await repository.content("state", f"feature/{key}") == "good\n"
    (pull_request,) = await repository.pull_requests()
    assert "after one repair round" in pull_request["body"]
    files = await repository.call("GET", f"/pulls/{pull_request['number']}/files")
    assert [file["filename"] for file in files] == ["state"]
    assert not pull_request["draft"]
    (line,) = re.findall(r"^Checks: .*$", told, re.MULTILINE)
    assert "passed in" in line
    assert document["turns"] == 4


async def test_what_a_failing_check_prints_is_shown_without_effects_and_without_secrets(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    token = world.gitea.bot_token
    half = len(token) // 2
    # The check cannot know the token; one that somebody had put into the repository is hidden all the same.
    await policy(world, check_command="sh check.sh")
    script = f"""\
printf '%s%s\\n' {token[:half]} {token[half:]}
printf '%s\\n' '@demo look' '```' '</details>' '````' '<img src=x onerror=alert(1)>' '/close'
exit 2
"""
    await repository.commit({"check.sh": script})
    async with start_consumer():
        development_id = await world.queue(attempts("echo 1 > state", "echo 2 > state"))
        document = await world.developments.ended(development_id, 200)
    assert document["status"] == "completed", document["error_message"]
    assert (document["check"]["result"], document["check"]["exit_status"]) == ("failed", 2)
    (pull_request,) = await repository.pull_requests()
    body = pull_request["body"]
    assert "Checks: `sh check.sh` failed (exit 2) after one repair round" in body
    assert "@demo" not in body
    rendered = await world.gitea.call("POST", "/markdown", {"Text": body, "Mode": "gfm"})
    assert "&lt;img src=x" in rendered
    assert "<img" not in rendered
    (details,) = re.findall(r"<details>.*?</details>", rendered, re.DOTALL)
    assert "&lt;/details&gt;" in details
    assert "/close" in details
    events = await world.db["agent_events"].find({"development_id": development_id}).to_list()
    for text in (body, str(document), str(events), world.logs()):
        assert token not in text
    assert "[hidden]" in document["check"]["output"]


async def test_a_check_that_does_not_end_is_told_as_such(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.repository()
    await policy(world, check_command="echo waiting; sleep 300", check_timeout_seconds=2)
    async with start_consumer():
        development_id = await world.queue(attempts("echo 1 > state", "echo 2 > state"))
        document = await world.developments.ended(development_id, 200)
    assert document["status"] == "completed", document["error_message"]
    assert document["check"]["result"] == "timed_out"
    (pull_request,) = await repository.pull_requests()
    assert re.search(r"Checks: `.*sleep 300` did not end within \d+ s", pull_request["body"])


async def test_a_project_without_the_shell_has_an_agent_without_one(
    world: World, start_consumer: StartConsumer
) -> None:
    await world.repository()
    await policy(world, tools=["Read", "Edit", "Glob", "Grep"])
    trace = world.directory / "trace"
    async with start_consumer():
        offered = await world.queue("[[lab:tools]]", number=1)
        document = await world.developments.ended(offered, 200)
        assert "On offer: Edit Glob Grep Read" in document["error_message"]
        forced = await world.queue(
            bash(f"echo ran > {trace}").replace("[[lab:bash]]", "[[lab:bash anyway=1]]"), number=2
        )
        document = await world.developments.ended(forced, 200)
    assert document["outcome"] == "no_change"
    events = await world.db["agent_events"].find({"development_id": forced, "type": "tool"}).sort("seq", 1).to_list()
    assert [(event["phase"], event["is_error"]) for event in events] == [("call", False), ("result", True)]
    assert not trace.exists()
