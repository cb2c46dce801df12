"""What a job may take in all: each limit ends it with a reason, and the runner lives to tell it."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.client import Client, bash
from sdlc_agents.kernel.processes import proportional_bytes
from support.agents import RunnerProcesses

pytestmark = pytest.mark.timeout(180)

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of the test's own is made there
# So many and no more, whatever the runner does about it: the test's machine is others' too.
FORKS = """\
cat > forks.py <<'EOF'
import os, time
for number in range(250):
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
        os._exit(0)
time.sleep(60)
EOF
python3 forks.py"""


async def limited(client: Client, runners: RunnerProcesses, prompt: str, **settings: str) -> dict[str, Any]:
    """The last event of a job under these limits; the runner is well after it."""
    client.url = await runners.start({"COLLECT_SECONDS": "20", **settings})
    await client.run(prompt=prompt)
    assert (await client.http.get(f"{client.url}/v1/jobs")).json() == {"state": "used"}
    return client.events[-1]


async def test_too_many_processes_end_the_job(client: Client, runners: RunnerProcesses) -> None:
    end = await limited(client, runners, bash(FORKS), MAX_PROCESSES="100")
    assert (end["type"], end["reason"]) == ("failed", "process_limit"), end
    assert "more than 100 processes" in end["message"]


async def test_too_many_processes_in_the_check_fail_the_check_alone(client: Client, runners: RunnerProcesses) -> None:
    client.job["check"] = {"command": FORKS, "timeout_seconds": 100}
    end = await limited(client, runners, bash("echo x > x"), MAX_PROCESSES="100")
    assert (end["type"], end["check"]) == ("finished", "failed"), end
    check = next(event for event in client.events if event["type"] == "check")
    assert "more than 100 processes" in check["output"]
    assert check["exit_status"] is None


async def test_too_much_memory_ends_the_job(client: Client, runners: RunnerProcesses) -> None:
    command = "python3 -c \"import time; kept = b'x' * (900 * 1024 * 1024); time.sleep(100)\""
    end = await limited(client, runners, bash(command), MAX_MEMORY_MB="900")
    assert (end["type"], end["reason"]) == ("failed", "memory_limit"), end
    assert "more than 900 MiB of memory" in end["message"]


async def test_memory_that_forked_processes_share_counts_once(client: Client, runners: RunnerProcesses) -> None:
    command = (
        "python3 -c \"import os, time; kept = b'x' * (300 * 1024 * 1024)\n"
        "for number in range(4): os.fork() or (time.sleep(2), os._exit(0))\n"
        'time.sleep(2)" && echo shared > shared'
    )
    end = await limited(client, runners, bash(command), MAX_MEMORY_MB="1000")
    assert (end["type"], end.get("changed")) == ("finished", True), end


def test_what_has_ended_meanwhile_has_no_memory() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert (proportional_bytes(child.pid) or 0) > 0
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert proportional_bytes(child.pid) == 0, "a zombie"
    assert proportional_bytes(child.pid) == 0


async def test_what_a_job_starts_is_killed_by_the_kernel_before_the_runner_is(client: Client) -> None:
    await client.run(prompt=bash("sleep 1; cat /proc/self/oom_score_adj"))
    shown = [event["content"] for event in client.events if event["type"] == "tool" and event["phase"] == "result"]
    assert shown == ["1000"]


@pytest.fixture
def memory_directory() -> Iterator[Path]:
    """A job directory on a file system in memory, as in the container."""
    directory = _MEMORY / f"sdlc-test-{uuid.uuid4().hex}"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


async def test_files_that_take_too_much_of_the_disk_end_the_job(
    client: Client, runners: RunnerProcesses, memory_directory: Path
) -> None:
    state = os.statvfs(memory_directory)
    assert state.f_bavail * state.f_frsize > 40 * 1024 * 1024, "the test needs some room in /dev/shm"
    end = await limited(
        client,
        runners,
        bash("head -c 30000000 /dev/zero > big; sleep 100"),
        JOB_DIR=str(memory_directory),
        MAX_DISK_MB="20",
    )
    assert (end["type"], end["reason"]) == ("failed", "disk_limit"), end
    assert "more than 20 MiB" in end["message"]


async def test_too_much_output_ends_the_job(client: Client, runners: RunnerProcesses) -> None:
    client.job["max_turns"] = 400
    end = await limited(client, runners, "[[lab:endless kib=14 input-tokens=1 output-tokens=1]]", MAX_OUTPUT_MB="1")
    assert (end["type"], end["reason"]) == ("failed", "output_limit"), end
    assert "more than 1 MiB" in end["message"]
    told = sum(len(str(event)) for event in client.events)
    assert told < 2 * 1024 * 1024
