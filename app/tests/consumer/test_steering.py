"""Cancelling and retrying while consumers work: every service a process, through the API's own service."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from sdlc_agents.developments.service import DevelopmentService
from sdlc_agents.kernel.callers import Caller, Scope
from sdlc_agents.kernel.errors import ConflictError
from support.agents import StartConsumer
from support.lab import JIRA_TOKEN
from support.waiting import until
from support.world import World, bash, jira_with_a_ticket, told_ends

pytestmark = pytest.mark.timeout(120)

ENDED_BY_A_PERSON = 'sdlc_agent_runs_total{outcome="cancelled",status="cancelled"} 1.0'
PERSON = Caller("k1", "Ops key", frozenset({Scope.WRITE}), "10.0.0.1")


@pytest.fixture
def steering(world: World) -> DevelopmentService:
    return DevelopmentService(world.db)


def runs(word: str) -> bool:
    """Whether a process of a run's own has this argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def mentions(word: str) -> bool:
    """Whether a git has this in one of its arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes()
            if command.startswith(b"git\0") and word.encode() in command:
                return True
    return False


async def good_tokens(world: World, development_id: str) -> int:
    """How many tokens of a development outlive its end."""
    ended = (await world.developments.get(development_id))["completed_at"]
    good = {"development_id": development_id, "expires_at": {"$gt": ended}}
    return await world.db["agent_jobs"].count_documents(good)


async def left_of(world: World, development_id: str) -> tuple[list[Path], int]:
    """What lies in the first consumer's workspace, and how many of the development's tokens are still good."""
    work = list((world.directory / "workspace" / "consumer-1").iterdir())
    return work, await good_tokens(world, development_id)


async def test_a_run_that_waits_for_a_runner_is_cancelled_at_once(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    await world.repository()
    async with start_consumer(AGENT_RUNNER_URLS="http://127.0.0.1:1", RUNNER_WAIT_SECONDS="60"):
        development_id = await world.queue(bash("echo done > done.txt"))

        async def waits() -> bool:
            return bool((await world.developments.get(development_id))["prompt"])

        await until(waits, 60)
        await steering.cancel(development_id, PERSON)
        document = await world.developments.ended(development_id, 5)
        assert await left_of(world, development_id) == ([], 0)
    assert (document["status"], document["cost_usd"]) == ("cancelled", 0)


async def test_a_run_that_clones_is_cancelled_at_once_and_its_git_is_dead(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    repository = await world.repository()
    # Or else the consumer would not come so far: it would ask the forge what it is.
    key = world.developments.project_key
    await world.db["projects"].update_one({"jira_project_key": key}, {"$set": {"repositories.0.forge": "gitea"}})

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as stalled:
        port = stalled.sockets[0].getsockname()[1]
        async with start_consumer(EGRESS_PROXY_URL=f"http://127.0.0.1:{port}"):
            development_id = await world.queue(bash("echo done > done.txt"))

            async def clones() -> bool:
                return mentions(repository.name)

            await until(clones, 60)
            await steering.cancel(development_id, PERSON)
            document = await world.developments.ended(development_id, 5)
            assert not mentions(repository.name)
    assert (document["status"], document["outcome"]) == ("cancelled", "cancelled")


async def test_a_development_that_waits_behind_another_is_cancelled_and_never_begins(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    repository = await world.repository()
    async with start_consumer(SWEEP_SECONDS="60"), start_consumer("consumer-2"):
        first = await world.queue(bash("sleep 4; echo done > done.txt"))
        await world.until_running(first)
        second = await world.queue(bash("echo two > two.txt"))

        async def waits() -> bool:
            return "retry_requested_at" in await world.developments.get(second)

        await until(waits, 30)
        assert (await steering.cancel(second, PERSON)).status == "cancelled"
        assert (await world.developments.ended(first))["status"] == "completed"
    document = await world.developments.get(second)
    assert (document["status"], document.get("attempts", 0)) == ("cancelled", 0)
    assert "two.txt" not in {entry["path"] for entry in await repository.call("GET", "/contents?ref=main")}


async def test_the_transcript_keeps_the_events_of_all_attempts(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    await world.repository()
    async with start_consumer():
        development_id = await world.queue("[[lab:nothing]]")
        assert (await world.developments.ended(development_id))["outcome"] == "no_change"
        await steering.retry(development_id, PERSON)
        document = await world.developments.ended(development_id)
    page = await steering.transcript(development_id, 200, None)
    jobs = list(dict.fromkeys(event.job_id for event in page.items))
    assert [entry["attempt"] for entry in document["attempts_log"]] == [1, 2]
    assert len(jobs) == 2
    for job in jobs:
        types = [event.type for event in page.items if event.job_id == job]
        assert (types[0], types[-1]) == ("started", "finished")


async def test_a_cancelled_run_stops_within_two_seconds_and_says_who_and_what_it_cost(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    repository = await world.repository()
    marker = f"a-program-that-is-to-be-stopped-{world.developments.project_key}"
    async with start_consumer() as consumer:
        development_id = await world.queue(bash(f"python3 -c 'import time; time.sleep(57)' {marker}"))
        await world.until_running(development_id)

        async def sleeping() -> bool:
            return runs(marker)

        await until(sleeping, 30)
        began = time.monotonic()
        asked = await steering.cancel(development_id, PERSON)
        assert (asked.status, asked.cancel_requested_at is not None) == ("running", True)

        async def seen() -> bool:
            return "development_cancel_seen" in consumer.log.read_text()

        await until(seen, 2)
        document = await world.developments.ended(development_id)
        assert time.monotonic() - began < 5

        async def gone() -> bool:
            return not runs(marker)

        await until(gone, 5)
        assert await left_of(world, development_id) == ([], 0)

        async def counted() -> bool:
            return ENDED_BY_A_PERSON in await consumer.metrics()

        await until(counted, 5)
    assert (document["status"], document["outcome"]) == ("cancelled", "cancelled")
    assert document["error_message"] == "cancelled by Ops key"
    assert document["cost_usd"] > 0
    (attempt,) = document["attempts_log"]
    assert (attempt["attempt"], attempt["outcome"], attempt["cost_usd"]) == (1, "cancelled", document["cost_usd"])
    assert attempt["started_at"] < attempt["ended_at"]
    assert await repository.pull_requests() == []
    assert await world.broker.develop_error.get() is None, "a cancellation is no failure"


async def test_the_message_of_a_cancelled_development_is_acknowledged_and_ignored(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    await world.repository()
    development_id = await world.developments.queue("Please write it down.", age=timedelta(minutes=5))
    assert (await steering.cancel(development_id, PERSON)).status == "cancelled"
    await world.send(development_id)
    async with start_consumer():

        async def taken() -> bool:
            return await world.waiting_messages() == 0

        await until(taken, 30)
        await world.developments.ended(await world.queue("[[lab:nothing]]", number=2))
    document = await world.developments.get(development_id)
    assert (document["status"], document.get("attempts", 0)) == ("cancelled", 0)
    assert await world.waiting_messages() == 0
    assert await world.db["agent_jobs"].count_documents({"development_id": development_id}) == 0


async def test_a_consumer_that_dies_with_a_cancellation_pending_leaves_it_to_the_next(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    repository = await world.repository()
    async with start_consumer("consumer-1") as first:
        development_id = await world.queue(bash("sleep 3; echo done > done.txt"))
        await world.until_running(development_id)
        first.kill()
        await first.ended()
        assert (await steering.cancel(development_id, PERSON)).status == "running"
        async with start_consumer("consumer-2"):
            document = await world.developments.ended(development_id)
    assert await good_tokens(world, development_id) == 0, "the lost consumer's token"
    assert (document["status"], document["error_message"]) == ("cancelled", "cancelled by Ops key")
    assert [entry["outcome"] for entry in document["attempts_log"]] == ["consumer_lost", "cancelled"]
    assert await world.db["agent_jobs"].count_documents({"development_id": development_id}) == 1, "it was run again"
    assert await repository.pull_requests() == []


async def test_a_cancellation_that_comes_when_the_result_is_out_changes_nothing(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    repository = await world.repository()
    async with start_consumer() as consumer:
        development_id = await world.queue("Please write it down.")

        async def accepted() -> bool:
            return "result_accepted" in consumer.log.read_text()

        await until(accepted, 60)
        with suppress(ConflictError):  # it may have ended by now
            await steering.cancel(development_id, PERSON)
        document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    assert len(await repository.pull_requests()) == 1
    assert len(document["attempts_log"]) == 1


@pytest.mark.parametrize("delay", [0.0, 0.4, 0.8, 1.2])
async def test_cancelling_and_finishing_at_once_end_in_exactly_one_way(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService, delay: float
) -> None:
    repository = await world.repository()
    async with start_consumer():
        development_id = await world.queue(bash("echo done > done.txt"))
        await world.until_running(development_id)
        await asyncio.sleep(delay)
        answer = (await asyncio.gather(steering.cancel(development_id, PERSON), return_exceptions=True))[0]
        assert not isinstance(answer, BaseException) or isinstance(answer, ConflictError)
        document = await world.developments.ended(development_id)
        settled = [document["status"], document["outcome"], len(document["attempts_log"])]
        assert await left_of(world, development_id) == ([], 0)
    assert settled in (["completed", "pull_request", 1], ["cancelled", "cancelled", 1])
    assert len(await repository.pull_requests()) == (1 if document["status"] == "completed" else 0)


async def test_a_failed_development_is_begun_again_within_two_seconds_and_keeps_its_attempts(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    # A long sweep: only the look for retries can be so prompt.
    async with start_consumer(SWEEP_SECONDS="60", AGENT_MAX_ATTEMPTS="1"):
        development_id = await world.queue(bash("echo done > done.txt"))
        failed = await world.developments.ended(development_id)
        assert failed["outcome"] == "unknown_project"
        repository = await world.repository()
        answers = await asyncio.gather(
            *(steering.retry(development_id, PERSON) for _ in range(2)), return_exceptions=True
        )
        asked = time.monotonic()
        assert sorted(type(answer).__name__ for answer in answers) == ["ConflictError", "DevelopmentOutput"]
        await world.developments.until(development_id, {"running", "completed"}, 2)
        assert time.monotonic() - asked < 2
        document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    assert (document["attempts"], document["error_message"]) == (2, None)
    log = document["attempts_log"]
    assert [(entry["attempt"], entry["outcome"]) for entry in log] == [(1, "unknown_project"), (2, "pull_request")]
    assert "no project is registered" in log[0]["error_message"]
    assert log[1]["cost_usd"] == pytest.approx(document["cost_usd"])
    assert "retry_requested_at" not in document
    assert len(await repository.pull_requests()) == 1
    await world.broker.next_message(world.broker.develop_error)
    assert await world.broker.develop_error.get() is None


async def test_the_ticket_is_told_of_each_cancellation(
    world: World, start_consumer: StartConsumer, steering: DevelopmentService
) -> None:
    await world.repository()
    async with jira_with_a_ticket() as (port, jira, key):
        settings = {"JIRA_API_URL": f"http://127.0.0.1:{port}", "JIRA_API_TOKEN": JIRA_TOKEN}
        development_id = await world.developments.queue(bash("python3 -c 'import time; time.sleep(57)'"))
        await world.db["developments"].update_one({"_id": development_id}, {"$set": {"jira_issue_key": key}})
        await steering.cancel(development_id, PERSON)
        # Jira is plain HTTP on loopback here, which the egress proxy does not carry.
        async with start_consumer(EGRESS_PROXY_URL="", **settings):
            await told_ends(jira, key, 1)
            await steering.retry(development_id, PERSON)
            await world.until_running(development_id)
            await steering.cancel(development_id, PERSON)
            asked = time.monotonic()
            told = await told_ends(jira, key, 2)
            assert time.monotonic() - asked < 5
    for comment in told:
        assert "stopped working on this ticket: cancelled by Ops key" in comment
