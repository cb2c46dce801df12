"""A project's check command runs with the tools of the runners' image, which no other service has."""

import uuid
from typing import Any

from lab import journey
from lab.journey import Appliance
from lab.services.jira import payload

MAKEFILE = """\
test:
	test -s state
	@echo tested $$(cat state)
"""


def run(appliance: Appliance, project: str, check: str, script: str) -> dict[str, Any]:
    """The development of a ticket whose agent runs this script, in a project with this check."""
    appliance.register(project, agent={"check_command": check})
    key = f"{project}-{uuid.uuid4().hex[:8].upper()}"
    description = f"[[lab:bash]]\n```bash\n{script}```\n"
    assert appliance.send(payload.Ticket(key, "Test it", description)).status == 200
    development = appliance.wait(key)
    assert development["status"] == "completed", development["error_message"]
    return development


def test_make_test_passes_and_stands_in_the_pull_request(appliance: Appliance) -> None:
    script = f"echo good > state\ncat > Makefile <<'END'\n{MAKEFILE}END\n"
    development = run(appliance, "MADE", "make test", script)
    check = development["check"]
    assert (check["command"], check["result"], check["round"]) == ("make test", "passed", 1), check
    assert "tested good" in check["output"]
    assert "Checks: `make test` passed in " in journey.pull_request(development["pr_mr_url"])["body"]


def test_a_tool_that_the_runners_lack_is_named_as_the_cause(appliance: Appliance) -> None:
    development = run(appliance, "UNMADE", "sdlc-lab-no-such-tool", "echo good > state\n")
    assert (development["check"]["result"], development["check"]["exit_status"]) == ("failed", 127)
    body = journey.pull_request(development["pr_mr_url"])["body"]
    assert "a program is missing in the sandbox; app_agent_runner_packages adds it" in body
