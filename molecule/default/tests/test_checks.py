"""A project's check command runs with the tools of the runners' image, which no other service has."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab import journey
from lab.journey import Appliance

MAKEFILE = """\
test:
	test -s state
	@echo tested $$(cat state)
"""


def run(appliance: Appliance, project: str, check: str, script: str) -> dict[str, Any]:
    """The development of a ticket whose agent runs this script, in a project with this check."""
    appliance.register(project, agent={"check_command": check})
    development = appliance.work(project, "Test it", script)
    assert development["status"] == "completed", development["error_message"]
    return development


def test_make_test_passes_and_stands_in_the_pull_request(appliance: Appliance) -> None:
    script = f"echo good > state\ncat > Makefile <<'END'\n{MAKEFILE}END"
    development = run(appliance, "MADE", "make test", script)
    check = development["check"]
    assert (check["command"], check["result"], check["round"]) == ("make test", "passed", 1), check
    assert "tested good" in check["output"]
    assert "Checks: `make test` passed in " in journey.pull_request(development["pr_mr_url"])["body"]


def test_a_tool_that_the_runners_lack_is_named_as_the_cause(appliance: Appliance) -> None:
    development = run(appliance, "UNMADE", "sdlc-lab-no-such-tool", "echo good > state")
    assert (development["check"]["result"], development["check"]["exit_status"]) == ("failed", 127)
    body = journey.pull_request(development["pr_mr_url"])["body"]
    assert "a program is missing in the sandbox; app_agent_runner_packages adds it" in body


@pytest.mark.alone
@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("sdlc-lab-no-such-package", "apt said: E: Unable to locate package sdlc-lab-no-such-package"),
        ("make; reboot", "app_agent_runner_packages has make; reboot, which is no Debian package's name"),
    ],
)
def test_a_package_that_is_none_is_named_and_the_runners_go_on(
    lab: Any, host: Any, eventually: Callable[..., Any], package: str, told: str
) -> None:
    started = "docker inspect --format '{{.State.StartedAt}}' configuration-api llm-gateway"
    before = host.check_output(started)
    variables = json.dumps({"app_agent_runner_packages": ["make", package]})
    done = journey.playbook("site.yml", "-i", str(lab.inventory), "--tags", "app", "-e", variables)
    assert done.returncode != 0
    assert told in " ".join((done.stdout + done.stderr).split())
    assert host.check_output(started) == before
    # After the ticket before, it may be about to start afresh.
    eventually(lambda: host.run("docker exec agent-runner-1 sdlc-agents healthcheck").rc == 0, timeout=90)
