"""A runner in an attacker's hands: what it sends is refused, bounded, and costs the consumer nothing but the run."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hostile_runs.attacker import Attacker
from hostile_runs.impostor import Answer, Impostor, event, finished, impostor, repeats, says
from sdlc_agents.consumer.run import runners as module
from sdlc_agents.consumer.run.runners import Runners
from sdlc_agents.runs.protocol import JobRequest
from support.agents import StartConsumer
from support.repositories import commit, git
from support.world import World

pytestmark = pytest.mark.timeout(180)

MEMORY_MEGABYTES = 450
STARTED = event("started", model="m", version="1")


def rewritten_main(work: Path, branch: str) -> list[str]:
    commit(work, {"x": "x"})
    git(work, "branch", "--force", "main", "HEAD")
    return [f"refs/heads/{branch}", "refs/heads/main"]


def main_alone(work: Path, branch: str) -> list[str]:
    commit(work, {"x": "x"})
    git(work, "branch", "--force", "main", branch)
    return ["refs/heads/main"]


def tags_beside_it(work: Path, branch: str) -> list[str]:
    commit(work, {"x": "x"})
    git(work, "tag", "v9")
    return [f"refs/heads/{branch}", "refs/tags/v9"]


def unrelated_history(work: Path, branch: str) -> list[str]:
    git(work, "checkout", "--quiet", "--orphan", "fresh")
    commit(work, {"x": "x"})
    git(work, "branch", "--force", branch, "fresh")
    return [f"refs/heads/{branch}"]


def submodule(work: Path, branch: str) -> list[str]:
    head = git(work, "rev-parse", "HEAD")
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{head},module")
    git(work, "commit", "--quiet", "--message=x")
    return [f"refs/heads/{branch}"]


def link_to_the_outside(work: Path, branch: str) -> list[str]:
    (work / "link").symlink_to("../../run/secrets/field_encryption_key")
    commit(work, {})
    return [f"refs/heads/{branch}"]


def planted(name: bytes, mode: str = "100644") -> Callable[[Path, str], list[str]]:
    """A tree with an entry that git would not write."""

    def build(work: Path, branch: str) -> list[str]:
        blob = bytes.fromhex(git(work, "hash-object", "-w", "--stdin", stdin=b"[core]\n\tfsmonitor = touch x\n"))
        raw = mode.encode() + b" " + name + b"\0" + blob
        tree = git(work, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
        made = git(work, "commit-tree", tree, "-p", "HEAD", "-m", "x")
        git(work, "update-ref", f"refs/heads/{branch}", made)
        return [f"refs/heads/{branch}"]

    return build


def zeros(work: Path, branch: str) -> list[str]:
    with (work / "zeros").open("wb") as file:
        file.truncate(700 * 1024 * 1024)
    commit(work, {})
    return [f"refs/heads/{branch}"]


BUNDLES = {
    "a rewritten main": rewritten_main,
    "main and nothing else": main_alone,
    "tags beside the branch": tags_beside_it,
    "a history of its own": unrelated_history,
    "a submodule": submodule,
    "a link to the outside": link_to_the_outside,
    ".GIT": planted(b".GIT"),
    ".git that other file systems read": planted(b".g\xe2\x80\x8cit"),
    "the short name of .git": planted(b"GIT~1"),
    "a path that climbs": planted(b"../x"),
    "an absolute path": planted(b"/etc/x"),
    "a line break in a name": planted(b"a\nb"),
    "a device": planted(b"disk", "60666"),
}

ENDLESS: dict[str, dict[str, Answer]] = {
    "events": {"events": repeats(event("message", text="x" * 9000) * 10)},
    "an event without an end": {"events": repeats(b"x" * 65536, first=b'{"type": "message", "text": "')},
    "nonsense instead of events": {"events": says(b'{"type": "finished", "turns": -1}\n')},
    "numbers beyond any bound": {"events": says(finished().replace(b'"turns":3', b'"turns":' + b"9" * 40))},
    "a time that no calendar has": {
        "events": says(STARTED, b'{"type":"message","text":"x","at":"0001-01-01T00:00:00+14:00"}\n', finished())
    },
    "nesting": {"events": says(b"[" * 200_000 + b"\n")},
    "no end of the events": {"events": says(STARTED)},
    "a result without an end": {"events": says(finished()), "result": repeats(b"x" * 65536)},
    "another address for the result": {
        "events": says(finished()),
        "result": says(status="302 Found\r\nLocation: http://169.254.169.254/latest/meta-data"),
    },
    "a result that is none": {"events": says(finished()), "result": says(b"# v2 git bundle\nnonsense")},
    "an error without an end": {"events": repeats(b"x" * 65536, status="500 Error")},
    "an answer without an end to the order to stop": {"stop": repeats(b"x" * 65536)},
}


@dataclass(frozen=True)
class Ended:
    """A development that an impostor worked on."""

    document: dict[str, Any]
    before: dict[str, str]
    after: dict[str, str]


async def play(world: World, start_consumer: StartConsumer, runner: Impostor) -> Ended:
    """A ticket for the impostor, and another that the same consumer has to be there for."""
    repository = await world.repository()
    attacker = Attacker(repository, world.directory)
    before = attacker.refs()
    async with start_consumer("consumer-1", AGENT_RUNNER_URLS=runner.url, AGENT_MAX_RESULT_MB="4") as consumer:
        document = await world.developments.ended(await world.queue("Please write it down."))
        after = attacker.refs()
        assert consumer.peak_megabytes() < MEMORY_MEGABYTES
        runner.behave()
        second = await world.developments.ended(await world.queue("Please write it down.", number=2))
        assert second["outcome"] == "no_change", second["error_message"]
        assert consumer.process.returncode is None
    assert world.gitea.bot_token not in world.logs()
    return Ended(document, before, after)


@pytest.mark.parametrize("name", BUNDLES)
async def test_a_forged_result_is_refused_and_nothing_is_pushed(
    world: World, start_consumer: StartConsumer, tmp_path: Path, name: str
) -> None:
    async with impostor(events=says(STARTED, finished())) as runner:

        def forge(made: Impostor) -> None:
            work = made.unpack(tmp_path / "work")
            references = BUNDLES[name](work, str(made.job["branch"]))
            git(work, "bundle", "create", "--quiet", "../forged.bundle", f"^{made.job['start_commit']}", *references)
            made.result = says((tmp_path / "forged.bundle").read_bytes())

        runner.prepare = forge
        ended = await play(world, start_consumer, runner)
    assert (ended.document["status"], ended.document["outcome"]) == ("failed", "result_refused")
    assert ended.after == ended.before


async def test_a_small_result_that_unfolds_into_much_does_not_cost_the_consumer_its_memory(
    world: World, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    async with impostor(events=says(STARTED, finished())) as runner:

        def forge(made: Impostor) -> None:
            work = made.unpack(tmp_path / "work")
            (reference,) = zeros(work, str(made.job["branch"]))
            git(work, "bundle", "create", "--quiet", "../forged.bundle", f"^{made.job['start_commit']}", reference)
            (work / "zeros").unlink()
            made.result = says((tmp_path / "forged.bundle").read_bytes())

        runner.prepare = forge
        ended = await play(world, start_consumer, runner)
    assert ended.document["outcome"] in {"pull_request", "result_refused"}, ended.document["error_message"]
    changed = {name for name in ended.after if ended.before.get(name) != ended.after[name]}
    assert {name for name in changed if not name.startswith("refs/pull/")} <= {
        f"refs/heads/feature/{ended.document['jira_issue_key']}"
    }


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_has_no_end_or_no_sense_is_broken_off(
    world: World, start_consumer: StartConsumer, name: str
) -> None:
    async with impostor(**ENDLESS[name]) as runner:
        ended = await play(world, start_consumer, runner)
    assert ended.document["status"] == "failed"
    assert ended.document["outcome"] in {"runner_lost", "result_refused", "no_change"}, ended.document["error_message"]
    assert ended.after == ended.before


async def test_what_it_says_of_cost_is_not_believed(
    world: World, start_consumer: StartConsumer, tmp_path: Path
) -> None:
    usage = {"input_tokens": 10**12, "output_tokens": 10**12}
    async with impostor(events=says(STARTED, event("usage", usage=usage), finished(turns=10**12))) as runner:

        def work_well(made: Impostor) -> None:
            work = made.unpack(tmp_path / "work")
            commit(work, {"x": "x"})
            reference = f"refs/heads/{made.job['branch']}"
            git(work, "bundle", "create", "--quiet", "../good.bundle", f"^{made.job['start_commit']}", reference)
            made.result = says((tmp_path / "good.bundle").read_bytes())

        runner.prepare = work_well
        ended = await play(world, start_consumer, runner)
    assert ended.document["status"] == "completed", ended.document["error_message"]
    assert ended.document["cost_usd"] == 0


async def test_a_state_without_an_end_takes_neither_time_nor_memory() -> None:
    flood, drip = repeats(b" " * 65536), repeats(b" ", every=0.2)
    async with impostor(state=flood) as flooding, impostor(state=drip) as dripping, impostor() as good:
        runners = Runners([flooding.url, dripping.url, good.url])
        try:
            async with asyncio.timeout(10):
                await runners.check()
        finally:
            await runners.close()


async def test_a_result_that_comes_by_the_byte_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COLLECT_SECONDS", 1.0)
    job = JobRequest(
        job_id="0" * 32,
        prompt="x",
        base_branch="main",
        branch="feature/SHOP-1",
        start_commit="0" * 40,
        author_name="x",
        author_email="x@example.test",
        commit_message="x",
        job_token="t" * 40,
        gateway_url="http://127.0.0.1:1",
        model="m",
        max_turns=1,
        timeout_seconds=1,
        max_cost_usd=1,
        tools=("Bash",),
    )
    given = tmp_path / "given"
    given.write_bytes(b"x")
    async with impostor(events=says(finished()), result=repeats(b"x", every=0.2)) as runner:
        runners = Runners([runner.url])
        try:
            async with asyncio.timeout(10), runners.start(job, given, wait_seconds=5) as running:
                with pytest.raises(module.RunnerLostError, match="could not be fetched"):
                    await running.collect(tmp_path / "result", limit=1024)
        finally:
            await runners.close()
    assert runner.job["job_id"] == job.job_id
