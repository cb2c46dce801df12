"""`make bench-deploy`: the deployment's times and the appliance's idle memory, written to docs/benchmarks/deploy.md."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import hosts, inventory, journey, paths, setup
from lab.console import LabError, say
from lab.journey import Appliance
from lab.process import attempt, run, wait_until
from lab.services.jira import payload

HOST = "bench"
TICKETS = 10
PAGE = paths.CHECKOUT / "docs" / "benchmarks" / "deploy.md"

# Memory of every process on the host, shared pages counted once (kernel: smaps_rollup, Pss), by program.
_MEMORY = """
import pathlib, re
total = {}
for status in pathlib.Path("/proc").glob("[0-9]*/smaps_rollup"):
    try:
        pss = sum(int(n) for n in re.findall(r"^Pss:\\s+(\\d+)", status.read_text(), re.M))
        name = (status.parent / "comm").read_text().strip()
    except OSError:
        continue
    total[name] = total.get(name, 0) + pss
for name, kib in sorted(total.items(), key=lambda item: -item[1]):
    print(f"{name}\\t{kib}")
"""


def deploy() -> None:
    """Measure on a bare host: the first run, the second, ten tickets one after the other, the idle memory."""
    setup.up()
    hosts.destroy(HOST)
    host = hosts.create(HOST)
    appliance = Appliance(host, inventory.write([host], paths.state("bench-inventory")))
    first = journey.deploy(appliance.inventory, paths.state("bench-first.log"))
    second = journey.deploy(appliance.inventory, paths.state("bench-second.log"))
    memory = _memory(host)
    appliance.register("BENCH")
    spans = []
    for number in range(1, TICKETS + 1):
        wait_until(lambda: _runners_are_idle(host), "every runner is idle", timeout=60)
        spans.append(_ticket(appliance, number))
    _write(first, second, memory, spans)
    hosts.destroy(HOST)
    say(f"written: {PAGE.relative_to(paths.CHECKOUT)}")


def _memory(host: hosts.Host) -> Mapping[str, int]:
    told = run([*hosts.ssh_command(host.address), "python3", "-"], stdin=_MEMORY)
    rows = (line.split("\t") for line in told.splitlines())
    return {name: int(kib) for name, kib in rows}


def _runners_are_idle(host: hosts.Host) -> bool:
    # A runner that has done a job stays healthy until it restarts, so its own /ready is asked: 200 when it is idle.
    asked = (
        "for name in $(docker ps --filter name=agent-runner --format '{{.Names}}'); do "
        "address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' $name); "
        "curl --silent --output /dev/null --write-out '%{http_code}\\n' http://$address:9090/ready; done"
    )
    states = attempt([*hosts.ssh_command(host.address), asked], timeout=30).stdout.split()
    return bool(states) and set(states) == {"200"}


def _ticket(appliance: Appliance, number: int) -> dict[str, float]:
    # A number that no earlier run had: the lab's Gitea keeps the branches of all of them.
    ticket = payload.Ticket(f"BENCH-{int(time.time())}", f"Add a discount, take {number}", "Ten percent off.")
    answer = appliance.send(ticket)
    if answer.status != 200:
        raise LabError(f"the webhook API answered {answer.status}")
    development = appliance.wait(ticket.key)
    if development["status"] != "completed":
        raise LabError(f"{ticket.key} {development['status']}: {development['error_message']}")
    return _spans(development["timings"])


def _spans(timings: Mapping[str, Any]) -> dict[str, float]:
    at = {name: datetime.fromisoformat(value).timestamp() for name, value in timings.items() if value}
    return {
        "ticket accepted → agent started": at["agent_started_at"] - at["accepted_at"],
        "agent at work (scripted)": at["agent_finished_at"] - at["agent_started_at"],
        "agent finished → pull request open": at["published_at"] - at["agent_finished_at"],
        "ticket accepted → pull request open": at["published_at"] - at["accepted_at"],
    }


def _machine() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 2**20
    return f"{os.cpu_count()} cores ({model}), {memory} GiB, Linux {platform.release()}"


def _write(first: float, second: float, memory: Mapping[str, int], spans: list[dict[str, float]]) -> None:
    lines = [
        "# Deployment: time and memory",
        "",
        f"`make bench-deploy`, {datetime.now(tz=UTC):%Y-%m-%d}, on {_machine()}.",
        "Controller, appliance, package mirror, Gitea and the scripted Claude endpoint share that machine;",
        "package caches are warm. Each ticket finds its runners idle.",
        "",
        "| what | measured | bar |",
        "| --- | --- | --- |",
        f"| bare host → working appliance | {first:.0f} s | ≤ 900 s |",
        f"| second run | {second:.0f} s | ≤ 90 s |",
    ]
    bars = {
        "ticket accepted → agent started": "≤ 2 s",
        "agent finished → pull request open": "≤ 5 s",
    }
    for name in spans[0]:
        values = sorted(span[name] for span in spans)
        lines.append(
            f"| {name} ({len(values)} tickets) | median {statistics.median(values):.2f} s, "
            f"most {values[-1]:.2f} s | {bars.get(name, '-')} |"
        )
    total = sum(memory.values()) / 1024
    lines += [
        f"| resident when idle, everything on one host | {total:.0f} MiB | < 4096 MiB |",
        "",
        "## Idle memory by program",
        "",
        "Proportional set size of every process on the host, so that shared pages count once.",
        "",
        "| program | MiB |",
        "| --- | --- |",
        *(f"| {name} | {kib / 1024:.0f} |" for name, kib in memory.items() if kib >= 5 * 1024),
        "",
    ]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(lines))
