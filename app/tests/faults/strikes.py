"""Killing one part of an appliance at one moment of a run, and what must hold afterwards."""

import itertools
import time
from dataclasses import dataclass
from typing import Any

from faults.points import Point
from support.appliance import Appliance
from support.gates import Side
from support.processes import Kept
from support.waiting import until

PARTS = ("consumer", "runner", "gateway", "broker", "database")
REACHED_SECONDS = 60
END_SECONDS = 300
CLEAN_SECONDS = 40
"""A runner keeps a result that nobody asks for a while."""
TAKEOVER_SECONDS = 30
MOST_ATTEMPTS = 2
_FINAL = ("opened a pull request", "could not finish this ticket", "stopped working on this ticket")
_LATCH = """\
[[lab:bash]]
```bash
touch {folder}/begun
until [ -e {folder}/go ]; do sleep 0.1; done
echo done > done.txt
```
"""
_WORK = """\
[[lab:bash]]
```bash
echo done > done.txt
```
"""


@dataclass(frozen=True)
class Strike:
    """What became of a run in which one part was killed at one point; `takeover` is seconds after a lease ran out."""

    part: str
    point: str
    status: str
    outcome: str
    seconds: float
    attempts: int
    takeover: float | None

    def __str__(self) -> str:
        after = "" if self.takeover is None else f"{self.takeover:.1f}"
        return (
            f"{self.part:9} {self.point:31} {self.status:10} {self.outcome:14} {self.seconds:7.1f} "
            f"{self.attempts:8} {after:>9}"
        )


HEAD = f"{'killed':9} {'at':31} {'status':10} {'outcome':14} {'seconds':>7} {'attempts':>8} {'takeover':>9}"


async def strike(appliance: Appliance, part: str, point: Point) -> Strike:
    """One run with one kill. Raises `AssertionError` when something does not hold."""
    key = await appliance.ticket()
    latch = appliance.folder / f"latch-{key}"
    latch.mkdir()
    helds = [gate.hold(point.pattern, point.side) for gate in point.where(appliance.gates)]
    description = _WORK if helds else _LATCH.format(folder=latch)
    (development_id,) = await appliance.accept((key, description))

    async def reached() -> bool:
        return any(held.reached.is_set() for held in helds) or (latch / "begun").exists()

    await until(reached, REACHED_SECONDS)
    held = next((held for held in helds if held.reached.is_set()), None)
    killed = time.monotonic()
    await kill(appliance, part, development_id)
    if held is not None:
        # What a killed consumer was about to say is lost with it.
        held.release(deliver=part != "consumer" or held.side is not Side.REQUEST)
    appliance.gates.forget()
    (latch / "go").touch()
    document = await appliance.developments.ended(development_id, END_SECONDS)
    seconds = time.monotonic() - killed
    await settled(appliance, document)
    await check(appliance, document)
    return Strike(
        part=part,
        point=point.name,
        status=document["status"],
        outcome=document["outcome"],
        seconds=seconds,
        attempts=document["attempts"],
        takeover=takeover(document),
    )


async def kill(appliance: Appliance, part: str, development_id: str) -> None:
    """`kill -9`, and the start that Docker or systemd makes of it."""
    if part in {"broker", "database"}:
        engine = appliance.rabbitmq if part == "broker" else appliance.mongod
        await engine.kill()
        await engine.start()
        await engine.ready()
        return
    victim = await _victim(appliance, part, development_id)
    await victim.kill()
    await victim.up()


async def _victim(appliance: Appliance, part: str, development_id: str) -> Kept:
    if part == "gateway":
        return appliance.gateway
    if part == "consumer":
        lease = (await appliance.developments.get(development_id))["lease"]
        # Where the run has ended nobody holds it: then it is the one that tells of it.
        tells = (name for name, gate in appliance.gates.trackers.items() if gate.holding)
        return appliance.consumers[lease["owner"] or next(tells)]
    idle = await appliance.idle_runners()
    return appliance.runners[idle.index(False) if False in idle else 0]


async def settled(appliance: Appliance, document: dict[str, Any]) -> None:
    """Return when the ticket was told and every service waits for the next."""

    async def told() -> bool:
        notices = (await appliance.developments.get(document["_id"]))["notices"]
        return "pending" not in notices.values()

    await until(told, END_SECONDS)
    await appliance.ready()


async def check(appliance: Appliance, document: dict[str, Any]) -> None:
    """What must hold whatever was killed when."""
    key, branch = document["jira_issue_key"], document["branch_name"]
    opened = [entry for entry in await appliance.pull_requests() if entry["head"]["ref"] == branch]
    if document["status"] == "completed":
        assert [entry["html_url"] for entry in opened] == [document["pr_mr_url"]], "not exactly one pull request"
        assert min(document["cost_usd"], document["turns"], document["duration_seconds"]) > 0, "its figures are lost"
    else:
        assert document["status"] == "failed"
        assert opened == [], "it failed, and there is a pull request"
        assert len(document["error_message"]) > 20, "the failure says nothing"
    final = [text for text in await appliance.comments(key) if any(words in text for words in _FINAL)]
    assert len(final) == 1, final
    assert (document["pr_mr_url"] or document["error_message"]) in final[0]
    assert len(document["attempts_log"]) == document["attempts"] <= MOST_ATTEMPTS
    late = takeover(document)
    assert late is None or 0 <= late <= TAKEOVER_SECONDS

    async def clean() -> bool:
        return not appliance.strays() and not appliance.leftovers() and all(await appliance.idle_runners())

    try:
        await until(clean, CLEAN_SECONDS)
    except TimeoutError:
        assert (appliance.strays(), appliance.leftovers()) == ({}, []), "something of the run is left"
        raise
    open_tokens = {"development_id": document["_id"], "expires_at": {"$gt": document["completed_at"]}}
    assert await appliance.db["agent_jobs"].count_documents(open_tokens) == 0, "a job's token is still good"


def takeover(document: dict[str, Any]) -> float | None:
    """How long after a lease ran out its development was claimed again (s); None when none ran out."""
    log = document["attempts_log"]
    pairs = itertools.pairwise(log)
    gaps = [
        (after["started_at"] - before["ended_at"]).total_seconds()
        for before, after in pairs
        if before["outcome"] == "consumer_lost"
    ]
    return max(gaps, default=None)


def sums(strikes: list[Strike]) -> str:
    """What all of them come to."""
    takeovers = [entry.takeover for entry in strikes if entry.takeover is not None]
    completed = sum(entry.status == "completed" for entry in strikes)
    latest = max(takeovers, default=0)
    slowest = max((entry.seconds for entry in strikes), default=0)
    most = max((entry.attempts for entry in strikes), default=0)
    return (
        f"{len(strikes)} kills: {completed} pull requests, {len(strikes) - completed} clear failures; slowest end "
        f"{slowest:.1f} s; most attempts {most}; latest takeover {latest:.1f} s after the lease ran out"
    )
