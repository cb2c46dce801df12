"""`make demo`: from a bare host to a pull request, with everything that happens on the way."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from lab import hosts, inventory, journey, paths, setup
from lab.console import LabError, say
from lab.journey import Appliance
from lab.services.jira import payload

HOST = "demo"
# A number that no earlier demo had: the lab's Gitea keeps the branches of all of them.
TICKET = payload.Ticket(
    key=f"DEMO-{int(time.time())}",
    summary="Add a discount to the cart",
    description="Customers with a voucher get ten percent off. Acceptance: the tests pass.",
)


def run() -> None:
    """Show the whole way once. With DEMO_KEEP=1 the host stays.

    Raises:
        LabError: A step failed; the message names it, with the host's last log lines.
    """
    keep = os.environ.get("DEMO_KEEP") == "1"
    started = time.monotonic()
    step = "building the lab"
    appliance: Appliance | None = None
    try:
        _title(1, "The lab: a bare Debian 13 host, a package mirror, Gitea, Claude and Jira stand-ins")
        setup.up()
        hosts.destroy(HOST)
        host = hosts.create(HOST)
        appliance = Appliance(host, inventory.write([host], paths.state("demo-inventory")))

        step = "running site.yml"
        _title(2, f"ansible-playbook site.yml turns {host.name} ({host.address}) into the appliance")
        deployed = journey.deploy(appliance.inventory, paths.state("demo.log"))

        step = "registering the project"
        _title(3, f"The project DEMO is registered: its repository is {journey.REPOSITORY}")
        appliance.register("DEMO")

        step = "sending the ticket"
        _title(4, f"Jira says that {TICKET.key} “{TICKET.summary}” moved to In Development (signed, TLS)")
        answer = appliance.send(TICKET)
        if answer.status != 200:
            raise LabError(f"the webhook API answered {answer.status}: {answer.body.decode(errors='replace')}")
        say(f"answer: {answer.status} {answer.body.decode().strip()}")

        step = "waiting for the pull request"
        _title(5, "The appliance works on it")
        development = appliance.wait(TICKET.key)
        if development["status"] != "completed":
            raise LabError(f"the development {development['status']}: {development['error_message']}")

        step = "showing the result"
        _result(development, deployed, time.monotonic() - started)
        _next(appliance, keep=keep)
    except LabError as error:
        told = appliance.last_log_lines() if appliance else ""
        hint = f"{error.hint}; " if error.hint else ""
        raise LabError(
            f"{step}: {error}" + (f"\nthe host's last log lines:\n{told}" if told else ""),
            f"{hint}the host stays up for a look: {_login(appliance)}; run `make demo` again to start afresh"
            if appliance
            else error.hint,
        ) from error
    if not keep:
        hosts.destroy(HOST)


def _title(number: int, text: str) -> None:
    print(f"\n\033[1m[{number}/5] {text}\033[0m", flush=True)


def _seconds(timings: dict[str, str], start: str, end: str) -> str:
    if not timings.get(start) or not timings.get(end):
        return "not known"
    span = datetime.fromisoformat(timings[end]) - datetime.fromisoformat(timings[start])
    return f"{span.total_seconds():.1f} s"


def _result(development: dict[str, Any], deployed: float, total: float) -> None:
    timings = development["timings"]
    print("\n\033[1mThe pull request\033[0m")
    print(f"  address       {development['pr_mr_url']}")
    print(f"  branch        {development['branch_name']}")
    print(f"  ticket → pull request    {_seconds(timings, 'accepted_at', 'published_at')}")
    print(f"    accepted → agent       {_seconds(timings, 'accepted_at', 'agent_started_at')}")
    print(f"    agent at work          {_seconds(timings, 'agent_started_at', 'agent_finished_at')}")
    print(f"    agent → pull request   {_seconds(timings, 'agent_finished_at', 'published_at')}")
    print(f"  cost          {development['cost_usd']:.4f} USD, {development['turns']} turns (scripted Claude)")
    print(f"  bare host → appliance    {deployed:.0f} s; everything {total:.0f} s\n")
    print(journey.pull_request_diff(development["pr_mr_url"]))


def _login(appliance: Appliance | None) -> str:
    return " ".join(hosts.ssh_command(appliance.host.address)) if appliance else ""


def _next(appliance: Appliance, *, keep: bool) -> None:
    print("\033[1mNext\033[0m")
    if keep:
        print(f"  the host              {_login(appliance)}")
        print(f"  run site.yml again    .venv/bin/ansible-playbook -i {appliance.inventory} site.yml")
        print("  what it did           ssh … docker logs developer-agent-consumer-1")
        print("  Prometheus            ssh -L 9091:127.0.0.1:9091 … then http://127.0.0.1:9091/targets")
        print("  remove it             make lab-down")
    else:
        print("  DEMO_KEEP=1 make demo   keeps the host and says how to reach it")
    print("  make test               everything that proves it")
    print("  README.md, “Your own host”: ten lines to an appliance of your own")
