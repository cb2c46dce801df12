"""A run's token: it is good from its opening until the run ends, whatever becomes of an answer on the way."""

from datetime import timedelta

from sdlc_agents.consumer.claims.claim import Claim
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.run.policy import RunPolicy
from sdlc_agents.consumer.run.repository import JobTokenRepository
from sdlc_agents.consumer.settings import ConsumerSettings
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database
from sdlc_agents.runs.protocol import JobRequest
from support.agents import Developments
from support.backends import MakeSettings


def job(claim: Claim, number: int) -> JobRequest:
    return JobRequest(
        job_id=f"{number:032x}",
        prompt="Please write it down.",
        base_branch="main",
        branch=claim.branch,
        start_commit="0" * 40,
        author_name="Bot",
        author_email="bot@example.com",
        commit_message="x",
        job_token=f"sdlc-job-{number:030}",
        gateway_url="http://gateway:1",
        model="claude-haiku-4-5",
        max_turns=1,
        timeout_seconds=1,
        max_cost_usd=1,
        tools=("Read",),
    )


async def test_opening_again_after_a_lost_answer_leaves_the_token_good_and_ends_those_before_it(
    db: Database, developments: Developments, make_settings: MakeSettings
) -> None:
    settings = make_settings(
        ConsumerSettings, agent_runner_urls=("http://runner:1",), llm_gateway_url="http://gateway:1"
    )
    claims = ClaimRepository(db, "a", lease_seconds=30, queued_grace_seconds=60)
    claim = await claims.claim(await developments.queue())
    assert claim is not None
    jobs, policy, until = JobTokenRepository(db), RunPolicy.of({}, settings), now() + timedelta(hours=1)
    first, second = job(claim, 1), job(claim, 2)
    await jobs.open(claim, first, policy, expires_at=until)
    for _ in range(2):  # the first was stored, but its answer was lost
        await jobs.open(claim, second, policy, expires_at=until)
    ends = {stored["_id"]: stored["expires_at"] async for stored in db["agent_jobs"].find()}
    assert ends.pop(second.job_id) == until
    assert ends.pop(first.job_id) < until
    assert ends == {}
