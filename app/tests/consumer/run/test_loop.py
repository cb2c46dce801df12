"""A development from the queue to the pull request: every service a process, Claude Code and Gitea the real ones."""

import asyncio
import signal
from datetime import timedelta

import httpx
import orjson
import pytest

from sdlc_agents.kernel.clock import now
from support.agents import StartConsumer, open_job
from support.lab import API_KEY, JIRA_TOKEN, comments
from support.proxy import CuttableProxy
from support.waiting import until
from support.world import World, bash, jira_with_a_ticket

pytestmark = pytest.mark.timeout(120)


async def test_a_queued_ticket_becomes_a_pull_request(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.repository()
    main = await repository.head("main")
    async with start_consumer(CONFIGURATION_API_PUBLIC_URL="https://sdlc.example.test"):
        development_id = await world.queue("Please write it down.")
        document = await world.developments.ended(development_id)
    key = document["jira_issue_key"]
    assert document["status"] == "completed", document["error_message"]

    (pull_request,) = await repository.pull_requests()
    assert (pull_request["html_url"], pull_request["number"]) == (document["pr_mr_url"], document["pr_mr_number"])
    assert pull_request["title"] == f"[{key}] Make it better"
    assert (pull_request["head"]["ref"], pull_request["base"]["ref"]) == (f"feature/{key}", "main")
    for part in (
        f"https://jira.example.test/browse/{key}",
        "1 file changed",
        "USD",
        "turns",
        f"(https://sdlc.example.test/api/developments/{development_id}/transcript)",
    ):
        assert part in pull_request["body"]
    assert "Written by the lab's scripted model" in await repository.content(f"notes/{key}.md", f"feature/{key}")
    assert await repository.head("main") == main
    branches = await repository.call("GET", "/branches")
    assert {branch["name"] for branch in branches} == {"main", f"feature/{key}"}

    assert document["branch_name"] == f"feature/{key}"
    assert document["repository_url"] == repository.url
    assert document["cost_usd"] > 0
    assert document["usage"]["input_tokens"] > 0
    assert document["turns"] > 2
    assert document["duration_seconds"] > 0
    assert "Please write it down." in document["prompt"]
    steps = ["accepted_at", "claimed_at", "agent_started_at", "agent_finished_at", "published_at"]
    times = [document["timings"][step] for step in steps]
    assert times == sorted(times)

    events = await world.db["agent_events"].find({"development_id": development_id}).sort("seq", 1).to_list()
    assert [events[0]["type"], events[-1]["type"]] == ["started", "finished"]
    assert [event["seq"] for event in events] == list(range(len(events)))
    (job,) = await world.db["agent_jobs"].find({"development_id": development_id}).to_list()
    assert job["cost_usd"] == pytest.approx(document["cost_usd"])
    assert job["expires_at"] <= document["completed_at"], "the job's token is still good"

    assert set(world.proxy.asked) == {world.gitea.url.removeprefix("https://")}
    assert world.gitea.bot_token not in world.logs()
    assert API_KEY not in world.logs()
    assert list((world.directory / "workspace" / "consumer-1").iterdir()) == []


async def test_an_unknown_project_fails_and_says_what_to_do(world: World, start_consumer: StartConsumer) -> None:
    async with start_consumer() as consumer:
        development_id = await world.queue()
        document = await world.developments.ended(development_id)
        assert document["status"] == "failed"
        key = world.developments.project_key
        assert f'no project is registered for the Jira project "{key}"' in document["error_message"]
        assert "POST /api/projects" in document["error_message"]
        report = orjson.loads((await world.broker.next_message(world.broker.develop_error)).body)
        assert set(report) == {"original_message", "error", "timestamp"}
        assert report["original_message"]["development_id"] == development_id
        assert report["original_message"]["jira_project_key"] == key
        assert report["error"] == document["error_message"]
        metrics = await consumer.metrics()
    assert 'sdlc_agent_runs_total{outcome="unknown_project",status="failed"} 1.0' in metrics


@pytest.mark.parametrize(
    "body", [b"not json", b"[]", b'{"development_id": 7}', b'{"development_id": "no-such"}'], ids=str
)
async def test_a_message_that_cannot_be_worked_on_goes_to_the_error_queue_once(
    world: World, start_consumer: StartConsumer, body: bytes
) -> None:
    async with start_consumer():
        await world.publish(body)
        report = orjson.loads((await world.broker.next_message(world.broker.develop_error)).body)
        assert report["original_message"] == (orjson.loads(body) if body != b"not json" else "not json")
        assert "cannot be worked on" in report["error"]
        known = await world.queue()  # the consumer goes on
        await world.developments.ended(known)
    assert await world.waiting_messages() == 0


async def test_of_two_consumers_with_the_same_message_one_works(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.repository()
    await world.runners.start()
    async with start_consumer("consumer-1"), start_consumer("consumer-2"):
        development_id = await world.developments.queue("Please write it down.")
        await asyncio.gather(*(world.send(development_id) for _ in range(4)))
        document = await world.developments.ended(development_id)

        async def empty() -> bool:
            return await world.waiting_messages() == 0

        await until(empty)
    assert document["status"] == "completed", document["error_message"]
    assert document["lease"]["fence"] == 1
    assert len(await repository.pull_requests()) == 1
    assert await world.db["agent_jobs"].count_documents({"development_id": development_id}) == 1


async def test_a_killed_consumers_work_is_taken_over_and_published_once(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    async with start_consumer("consumer-1") as first:
        development_id = await world.queue(bash("sleep 4; echo done > done.txt"))
        await world.until_running(development_id)
        first.kill()
        async with start_consumer("consumer-2"):
            document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    assert document["lease"]["fence"] == 2
    assert len(await repository.pull_requests()) == 1
    assert await repository.content("done.txt", document["branch_name"]) == "done\n"


async def test_a_consumer_that_slept_through_its_lease_publishes_nothing(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    await world.runners.start()
    async with start_consumer("consumer-1") as first:
        development_id = await world.queue(bash("sleep 3; echo done > done.txt"))
        await world.until_running(development_id)
        first.process.send_signal(signal.SIGSTOP)
        async with start_consumer("consumer-2"):
            document = await world.developments.ended(development_id)
            first.process.send_signal(signal.SIGCONT)

            async def noticed() -> bool:
                return "lease_lost" in first.log.read_text()

            await until(noticed)
    assert document["status"] == "completed", document["error_message"]
    assert document["lease"]["fence"] == 2
    assert await world.developments.get(development_id) == document
    assert len(await repository.pull_requests()) == 1


async def test_a_consumer_that_is_stopped_hands_its_run_back(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.repository()
    loop = asyncio.get_running_loop()
    async with start_consumer("consumer-1", LEASE_SECONDS="300") as first:
        development_id = await world.queue(bash("sleep 4; echo done > done.txt"))
        await world.until_running(development_id)
        began = loop.time()
        first.terminate()
        assert await first.ended() == 0
        assert loop.time() - began < 8
        assert (await world.developments.get(development_id))["status"] == "queued"
        async with start_consumer("consumer-2"):
            document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    assert document["attempts"] == 1
    assert len(await repository.pull_requests()) == 1


async def test_a_consumer_that_is_stopped_while_it_publishes_finishes_that_first(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    loop = asyncio.get_running_loop()
    async with start_consumer(SHUTDOWN_SECONDS="40") as consumer:
        development_id = await world.queue(bash("echo done > done.txt"))

        async def accepted() -> bool:
            return "result_accepted" in consumer.log.read_text()

        await until(accepted, 60)
        began = loop.time()
        consumer.terminate()
        assert await consumer.ended(60) == 0
        assert loop.time() - began < 40, "it was given up"
        document = await world.developments.get(development_id)
    assert (document["status"], document["attempts"]) == ("completed", 1)
    assert len(await repository.pull_requests()) == 1


async def test_a_ticket_whose_message_was_lost_is_worked_on(world: World, start_consumer: StartConsumer) -> None:
    await world.repository()
    development_id = await world.developments.queue("Please write it down.", age=timedelta(minutes=5))
    async with start_consumer():
        document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_was_pushed_before_a_crash_is_published_without_another_run_and_also_when_it_was_cancelled(
    world: World, start_consumer: StartConsumer, *, cancelled: bool
) -> None:
    repository = await world.repository()
    development_id = await world.developments.queue("Please write it down.")
    branch = f"feature/{world.developments.project_key}-1"
    await repository.commit({"by": "the lost attempt"}, new_branch=branch)
    await world.db["developments"].update_one(
        {"_id": development_id},
        {"$set": {"result": {"commit": await repository.head(branch), "base": "main", "turns": 7, "seconds": 41.5}}},
    )
    if cancelled:  # too late: the result is out
        asked = {"cancel_requested_at": now(), "cancel_requested_by": "Ops key"}
        await world.db["developments"].update_one({"_id": development_id}, {"$set": asked})
    await world.send(development_id)
    async with start_consumer():
        document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    (pull_request,) = await repository.pull_requests()
    assert pull_request["head"]["ref"] == branch
    assert (document["turns"], document["duration_seconds"]) == (7, 41.5)
    assert await world.db["agent_jobs"].count_documents({"development_id": development_id}) == 0


async def test_a_cancelled_run_whose_result_was_not_pushed_before_a_crash_is_cancelled(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    development_id = await world.developments.queue("Please write it down.")
    lost = {"result": {"commit": "1" * 40, "base": "main", "turns": 7, "seconds": 41.5}}
    asked = {"cancel_requested_at": now(), "cancel_requested_by": "Ops key"}
    await world.db["developments"].update_one({"_id": development_id}, {"$set": lost | asked})
    await world.send(development_id)
    async with start_consumer():
        document = await world.developments.ended(development_id)
    assert (document["status"], document["error_message"]) == ("cancelled", "cancelled by Ops key")
    assert await repository.pull_requests() == []
    assert await world.db["agent_jobs"].count_documents({"development_id": development_id}) == 0


async def test_a_second_activation_goes_on_where_the_first_ended(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.repository()
    async with start_consumer():
        first = await world.developments.ended(await world.queue(bash("echo one > one.txt")))
        second = await world.developments.ended(await world.queue(bash("cat one.txt && echo two > two.txt")))
    assert (first["status"], second["status"]) == ("completed", "completed"), second["error_message"]
    assert first["pr_mr_url"] == second["pr_mr_url"]
    assert await repository.content("one.txt", second["branch_name"]) == "one\n"
    assert await repository.content("two.txt", second["branch_name"]) == "two\n"


async def test_a_branch_that_someone_moved_meanwhile_is_left_as_it_is(
    world: World, start_consumer: StartConsumer
) -> None:
    repository = await world.repository()
    async with start_consumer():
        go_on = world.directory / "go-on"
        development_id = await world.queue(bash(f"until [ -e {go_on} ]; do sleep 0.1; done; echo mine > mine.txt"))
        running = await world.until_running(development_id)
        await repository.commit({"theirs.txt": "theirs"}, new_branch=running["branch_name"])
        theirs = await repository.head(running["branch_name"])
        go_on.touch()
        document = await world.developments.ended(development_id)
    assert document["status"] == "failed"
    assert "changed by someone else" in document["error_message"]
    assert await repository.head(running["branch_name"]) == theirs
    assert await repository.pull_requests() == []


@pytest.mark.parametrize(
    ("ticket", "outcome", "words"),
    [
        ("[[lab:nothing]]", "no_change", "the agent changed nothing"),
        ("[[lab:endless]]", "turn_limit", "did not finish within 4 turns"),
        ("[[lab:big mib=3]]", "result_refused", "larger than 1 MiB"),
        (bash("ln -s /etc/passwd link"), "result_refused", "leads out of the repository"),
        (bash("kill -9 $(ps -o ppid= -p $PPID)"), "runner_lost", "runner"),
    ],
    ids=["nothing", "turns", "too big", "hostile link", "runner killed by its agent"],
)
async def test_a_run_that_comes_to_nothing_fails_with_the_reason_and_its_cost(
    world: World, start_consumer: StartConsumer, ticket: str, outcome: str, words: str
) -> None:
    repository = await world.repository()
    async with start_consumer(AGENT_MAX_TURNS="4", AGENT_MAX_RESULT_MB="1"):
        document = await world.developments.ended(await world.queue(ticket))
        assert (document["status"], document["outcome"]) == ("failed", outcome), document["error_message"]
        assert words in document["error_message"]
        assert document["cost_usd"] > 0
        await world.broker.next_message(world.broker.develop_error)
    assert await repository.pull_requests() == []
    assert len(await repository.call("GET", "/branches")) == 1


async def test_a_spent_budget_fails_the_run(world: World, start_consumer: StartConsumer) -> None:
    await world.repository()
    async with start_consumer(AGENT_MAX_COST_USD="0.05"):
        document = await world.developments.ended(await world.queue("[[lab:endless input-tokens=20000]]"))
    assert (document["status"], document["outcome"]) == ("failed", "cost_limit")
    assert "of its 0.05 USD" in document["error_message"]
    assert "agent.max_cost_usd" in document["error_message"]
    assert 0.05 <= document["cost_usd"] < 0.2


async def test_a_project_that_spends_its_day_fails_the_run_and_the_next_is_not_begun(
    world: World, start_consumer: StartConsumer
) -> None:
    await world.repository()
    key = world.developments.project_key
    await world.db["projects"].update_one({"jira_project_key": key}, {"$set": {"agent": {"daily_budget_usd": 0.05}}})
    async with start_consumer():
        during = await world.developments.ended(await world.queue("[[lab:endless input-tokens=20000]]"))
        asked = len(world.proxy.asked)
        after = await world.developments.ended(await world.queue("Please write it down.", number=2))
    for document in (during, after):
        assert (document["status"], document["outcome"]) == ("failed", "budget_spent"), document["error_message"]
        assert f"the day's budget of project {key} is spent" in document["error_message"]
        assert "of 0.05 USD; it begins anew at" in document["error_message"]
        assert "agent.daily_budget_usd" in document["error_message"]
    assert during["cost_usd"] >= 0.05
    assert after["cost_usd"] == 0
    assert len(world.proxy.asked) == asked, "the repository was fetched for a run that could not begin"
    assert await world.db["agent_jobs"].count_documents({}) == 1


async def test_the_egress_token_of_a_job_is_kept_as_a_hash_and_shown_nowhere(
    world: World, start_consumer: StartConsumer
) -> None:
    await world.repository()
    await world.runners.start({"EGRESS_PROXY_URL": "http://127.0.0.1:9"})
    key = world.developments.project_key
    policy = {"agent": {"egress_hosts": ["packages.example", ".cdn.example"]}}
    await world.db["projects"].update_one({"jira_project_key": key}, {"$set": policy})
    async with start_consumer(AGENT_RUNNER_URLS=world.runners.urls[-1]):
        development_id = await world.queue(bash("env | grep -i https_proxy; env | sha256sum > sum.txt"))
        document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    (job,) = await world.db["agent_jobs"].find({"development_id": development_id}).to_list()
    assert job["egress_hosts"] == ["packages.example", ".cdn.example"]
    assert len(job["egress_sha256"]) == 64
    events = await world.db["agent_events"].find({"development_id": development_id}).to_list()
    shown = "\n".join(str(event.get("content") or "") for event in events)
    assert "https_proxy=http://127.0.0.1:" in shown
    assert "sdlc-egress-" not in shown
    assert "sdlc-egress-" not in world.logs()


async def test_a_token_that_the_forge_refuses_is_named(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.gitea.make_repository()
    await world.developments.register(repository, token="0" * 40)
    async with start_consumer():
        document = await world.developments.ended(await world.queue())
    assert document["status"] == "failed"
    assert "git_access_token" in document["error_message"]
    assert "0" * 40 not in document["error_message"]


async def test_a_forge_that_the_proxy_refuses_is_named(world: World, start_consumer: StartConsumer) -> None:
    repository = await world.repository()
    world.proxy.refused.add(repository.gitea.url.removeprefix("https://"))
    async with start_consumer():
        document = await world.developments.ended(await world.queue())
    assert document["status"] == "failed"
    assert "allow-list" in document["error_message"]


async def test_a_development_that_kills_its_consumers_is_given_up(world: World, start_consumer: StartConsumer) -> None:
    await world.repository()
    development_id = await world.developments.queue("Please write it down.")
    await world.db["developments"].update_one({"_id": development_id}, {"$set": {"attempts": 3}})
    job_id, _ = await open_job(world.db, development_id=development_id, fence=0)
    await world.send(development_id)
    async with start_consumer():
        document = await world.developments.ended(development_id)
    assert (document["status"], document["outcome"]) == ("failed", "attempts_used_up")
    job = await world.db["agent_jobs"].find_one({"_id": job_id})
    assert job is not None
    assert job["expires_at"] <= document["completed_at"], "the lost consumer's token is still good"


async def test_without_a_broker_the_work_goes_on_and_with_it_again_the_messages(
    world: World, start_consumer: StartConsumer, rabbitmq_proxy: CuttableProxy
) -> None:
    await world.repository()
    async with start_consumer(RABBITMQ_URL=rabbitmq_proxy.url) as consumer:
        await rabbitmq_proxy.cut()
        late = await world.developments.queue("[[lab:nothing]]", age=timedelta(minutes=5))
        assert (await world.developments.ended(late))["outcome"] == "no_change"
        async with httpx.AsyncClient(trust_env=False) as client:
            ready = await client.get(f"{consumer.metrics_url}/ready")
        assert ready.status_code == 503
        assert "rabbitmq" in ready.json()["error"]
        await rabbitmq_proxy.mend()
        # What could not be said while the broker was away is said now.
        report = orjson.loads((await world.broker.next_message(world.broker.develop_error, 30)).body)
        assert report["original_message"]["development_id"] == late
        await world.developments.ended(await world.queue("[[lab:nothing]]", number=2))


async def test_a_short_outage_of_the_database_does_not_cost_the_run(
    world: World, start_consumer: StartConsumer, mongo_proxy: CuttableProxy
) -> None:
    repository = await world.repository()
    async with start_consumer(MONGO_URL=mongo_proxy.url, LEASE_SECONDS="60") as consumer:
        development_id = await world.queue(bash("sleep 2; echo done > done.txt"))
        await world.until_running(development_id)
        await mongo_proxy.cut()

        async def agent_finished() -> bool:
            return "agent_finished" in consumer.log.read_text()

        await until(agent_finished, 30)
        await mongo_proxy.mend()
        document = await world.developments.ended(development_id)
    assert document["status"] == "completed", document["error_message"]
    assert document["lease"]["fence"] == 1
    assert len(await repository.pull_requests()) == 1


async def test_the_ticket_is_told_once_how_it_ended(world: World, start_consumer: StartConsumer) -> None:
    await world.repository()
    async with jira_with_a_ticket() as (port, jira, key):
        development_id = await world.developments.queue("Please write it down.")
        await world.db["developments"].update_one({"_id": development_id}, {"$set": {"jira_issue_key": key}})
        await world.send(development_id)
        settings = {"JIRA_API_URL": f"http://127.0.0.1:{port}", "JIRA_API_TOKEN": JIRA_TOKEN}

        async def is_told() -> bool:
            return (await world.developments.get(development_id)).get("notices") == {"ticket": "done"}

        # Jira is plain HTTP on loopback here, which the egress proxy does not carry.
        async with start_consumer(EGRESS_PROXY_URL="", **settings):
            document = await world.developments.ended(development_id)
            await until(is_told)
            # As after a crash between the comment and the note that it was made.
            await world.db["developments"].update_one(
                {"_id": development_id}, {"$set": {"notices": {"ticket": "pending"}}}
            )
            await until(is_told)
        told = await comments(jira, key)
    began, end = sorted(told, key=lambda body: "began to work" not in body)
    assert f"began to work on this ticket, in {document['repository_url']} on branch feature/{key}" in began
    assert f"POST /api/developments/{development_id}/cancel" in began
    for part in (document["pr_mr_url"], "Outcome: completed (pull_request)", "Cost: 0.0", "Duration: ", "Turns: "):
        assert part in end


async def test_a_missing_setting_ends_the_consumer_naming_all_of_them(start_consumer: StartConsumer) -> None:
    async with start_consumer(AGENT_RUNNER_URLS="", LLM_GATEWAY_URL="", FIELD_ENCRYPTION_KEY="") as consumer:
        assert await consumer.ended() == 78
    for name in ("AGENT_RUNNER_URLS", "LLM_GATEWAY_URL", "FIELD_ENCRYPTION_KEY"):
        assert name in consumer.log.read_text()
