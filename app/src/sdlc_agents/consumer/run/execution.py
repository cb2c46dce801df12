"""One claimed development, from the project to the open pull request."""

import asyncio
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

from sdlc_agents.consumer.checkout.bundle_inspection import BundleLimits
from sdlc_agents.consumer.checkout.mirrors import Mirrors
from sdlc_agents.consumer.checkout.remote import Remote, Transport
from sdlc_agents.consumer.checkout.workspace import Checkout, Workspace
from sdlc_agents.consumer.claims.claim import Claim, DevelopmentCost, LeaseLostError
from sdlc_agents.consumer.claims.repository import ClaimRepository
from sdlc_agents.consumer.metrics import AgentMetrics
from sdlc_agents.consumer.reporting.check_result import kept_check
from sdlc_agents.consumer.reporting.links import ConfigurationApi
from sdlc_agents.consumer.reporting.pull_request import Figures, pull_request_body
from sdlc_agents.consumer.retries import connect, ensure_pull_request, patiently
from sdlc_agents.consumer.run.budget import check_budgets, name_spent_budget
from sdlc_agents.consumer.run.follow_up import require_open, with_review
from sdlc_agents.consumer.run.policy import RunPolicy
from sdlc_agents.consumer.run.prompt import build_prompt
from sdlc_agents.consumer.run.redaction import Redactor, known_secrets
from sdlc_agents.consumer.run.repository import JobTokenRepository, TranscriptRepository
from sdlc_agents.consumer.run.runners import RunnerLostError, Runners, RunningJob
from sdlc_agents.consumer.run.transcript import Run, Transcript, keep_transcript
from sdlc_agents.consumer.settings import ConsumerSettings
from sdlc_agents.developments import changes
from sdlc_agents.developments.model import Outcome, Result, RunFailedError, Status
from sdlc_agents.forges.model import Forge, PullRequestText
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.errors import ServiceError, UnavailableError
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.kernel.waiting import to_the_end
from sdlc_agents.projects.reader import ProjectReader
from sdlc_agents.projects.repository_selection import choose_repository, find_repository
from sdlc_agents.runs.protocol import Check, Failed, Finished, JobRequest, Started
from sdlc_agents.spending.repository import SpendingRepository
from sdlc_agents.trackers.jira import Jira

_TOKEN_GRACE = timedelta(minutes=5)
_RUNNER_GRACE_SECONDS = 120.0
_MEGABYTE = 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True)
class RunServices:
    """What every execution works with."""

    settings: ConsumerSettings
    developments: ClaimRepository
    projects: ProjectReader
    jobs: JobTokenRepository
    spending: SpendingRepository
    transcripts: TranscriptRepository
    cipher: FieldCipher
    runners: Runners
    outside: httpx.AsyncClient
    metrics: AgentMetrics
    api: ConfigurationApi
    jira: Jira | None = None
    mirrors: Mirrors | None = None


class Execution:
    """One run. `publishing` turns true when its result is accepted or its end is known.

    From then on it is better finished than left: neither a stop nor a cancellation takes it back.
    """

    def __init__(self, tools: RunServices, claim: Claim) -> None:
        self._tools = tools
        self._claim = claim
        self._redact = Redactor(known_secrets(tools.settings))
        self._turns = 0
        self._seconds = 0.0
        self._finished_at: datetime | None = None
        self._checked: Check | None = None
        self._check = claim.check
        # An earlier attempt may have pushed its result: then this one publishes it.
        self.publishing = claim.result_commit is not None

    async def run(self) -> Outcome:
        """Do the work. Ends with an outcome, also a bad one; raises `LeaseLostError` when the claim is gone."""
        claim, tools = self._claim, self._tools
        workspace: Workspace | None = None
        try:
            if claim.cancelled_by is not None and not self.publishing:
                return await self.cancelled(claim.cancelled_by)
            if claim.tries > tools.settings.agent_max_attempts:
                return await self.failed(
                    RunFailedError(
                        f"given up: {claim.tries - 1} attempts ended without a result, because the consumer that had "
                        "this ticket was lost each time; look at its log and memory, then retry",
                        outcome="attempts_used_up",
                    )
                )
            project, repository = await self._choose()
            policy = RunPolicy.of(project, tools.settings)
            if claim.result_commit is None:
                await patiently(lambda: check_budgets(tools.spending, claim.jira_project_key, policy))
            token = await patiently(lambda: tools.cipher.decrypt(repository["git_access_token"]))
            self._redact = Redactor([token, *known_secrets(tools.settings)])
            forge = await connect(repository["url"], token, tools.outside, repository.get("forge"))
            settings = tools.settings
            workspace = Workspace(
                settings.workspace / f"{claim.development_id}-{claim.fence}",
                Remote(
                    forge.clone_url, forge.credentials, Transport(settings.egress_proxy_url, settings.extra_ca_file)
                ),
                tools.mirrors,
            )
            await self._note(changes.placed(repository["url"], claim.branch))
            if tools.jira is not None:
                await self._note(changes.start_to_be_told())
            return await self._work(project, policy, repository, forge, workspace)
        except (LeaseLostError, UnavailableError):
            raise
        except ServiceError as error:
            log.info("run_failed", code=error.code, error=self._redact(error.message))
            return await self.failed(error)
        finally:
            await to_the_end(self._clean_up(workspace))

    async def _choose(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        claim = self._claim
        project = await patiently(lambda: self._tools.projects.find(claim.jira_project_key))
        if project is None:
            raise RunFailedError(
                f'no project is registered for the Jira project "{claim.jira_project_key}": register it '
                f'(POST /api/projects with jira_project_key "{claim.jira_project_key}"), then move the ticket to the '
                "trigger status again",
                outcome="unknown_project",
            )
        await self._note(changes.with_ticket_policy(project.get("ticket") or {}))
        if claim.follow_up is not None:
            return project, find_repository(project["repositories"], claim.repository_url)
        return project, choose_repository(project["repositories"], claim.components)

    async def _work(
        self,
        project: Mapping[str, Any],
        policy: RunPolicy,
        repository: Mapping[str, Any],
        forge: Forge,
        workspace: Workspace,
    ) -> Outcome:
        claim = self._claim
        if claim.follow_up is not None:
            await require_open(forge, claim.follow_up)
        checkout = await workspace.fetch(claim.branch, repository.get("base_branch"))
        if claim.result_commit is not None and checkout.branch_commit == claim.result_commit:
            # An earlier attempt pushed and was lost before it could say so.
            self._turns, self._seconds = claim.result_turns, claim.result_seconds
            return await self._publish(
                project, policy, forge, checkout, summary="", changed="pushed by an earlier attempt"
            )
        self.publishing = False
        if claim.cancelled_by is not None:
            return await self.cancelled(claim.cancelled_by)
        with_branch = checkout.branch_commit is not None
        settings = self._tools.settings
        await workspace.borrow(policy.agent, checkout.start_commit, self._tools.outside, lfs_mb=settings.lfs_max_mb)
        await workspace.pack((checkout.base_branch, claim.branch) if with_branch else (checkout.base_branch,))
        finished = await self._run_agent(project, policy, repository, checkout, workspace)
        commit = await workspace.accept(
            claim.branch,
            checkout.start_commit,
            BundleLimits(settings.agent_max_result_mb * _MEGABYTE, lfs_files=workspace.borrowed.lfs_files),
        )
        self.publishing = True
        log.info("result_accepted", commit=commit)
        result: Result = {
            "commit": commit,
            "base": checkout.base_branch,
            "turns": self._turns,
            "seconds": self._seconds,
        }
        await self._note(changes.accepted(result, self._check))
        files = await workspace.summary(checkout.start_commit)
        await workspace.push(claim.branch)
        log.info("branch_pushed", branch=claim.branch)
        return await self._publish(project, policy, forge, checkout, summary=finished.text, changed=files)

    async def _run_agent(
        self,
        project: Mapping[str, Any],
        policy: RunPolicy,
        repository: Mapping[str, Any],
        checkout: Checkout,
        workspace: Workspace,
    ) -> Finished:
        claim, tools, settings = self._claim, self._tools, self._tools.settings
        survey = await workspace.survey(checkout.start_commit)
        prompt = build_prompt(
            claim,
            project,
            repository,
            base_branch=checkout.base_branch,
            survey=survey,
            notice=workspace.borrowed.notice,
        )
        prompt = self._redact(prompt if claim.follow_up is None else with_review(prompt, claim.follow_up))
        job = JobRequest(
            job_id=uuid.uuid4().hex,
            prompt=prompt,
            base_branch=checkout.base_branch,
            branch=claim.branch,
            start_commit=checkout.start_commit,
            shallow=checkout.shallow,
            borrowed=bool(workspace.borrowed),
            author_name=settings.agent_author_name,
            author_email=settings.agent_author_email,
            commit_message=claim.title[:2000],
            job_token=f"sdlc-job-{secrets.token_urlsafe(32)}",
            egress_token=f"sdlc-egress-{secrets.token_urlsafe(32)}" if policy.agent.egress_hosts else None,
            gateway_url=settings.llm_gateway_url,
            model=policy.model,
            max_turns=policy.max_turns,
            timeout_seconds=policy.timeout_seconds,
            max_cost_usd=policy.max_cost_usd,
            tools=policy.tools,
            check=policy.check,
        )
        longest = timedelta(seconds=policy.timeout_seconds + settings.runner_wait_seconds)
        await patiently(
            lambda: tools.jobs.open(
                claim,
                job,
                policy,
                expires_at=now() + longest + _TOKEN_GRACE,
            )
        )
        await self._note(changes.prompted(prompt))
        redact = Redactor([job.job_token, job.egress_token or ""])
        structlog.contextvars.bind_contextvars(job_id=job.job_id)
        run = Run(claim.development_id, job.job_id, claim.fence)
        async with (
            keep_transcript(tools.transcripts, run, lambda text: redact(self._redact(text))) as transcript,
            tools.runners.start(job, workspace.outgoing, wait_seconds=settings.runner_wait_seconds) as running,
        ):
            try:
                # The runner keeps the limit itself; this is for one that does not.
                async with asyncio.timeout(policy.timeout_seconds + _RUNNER_GRACE_SECONDS):
                    finished = await self._follow(running, transcript, policy)
            except TimeoutError as error:
                raise RunnerLostError("the agent runner did not keep the time limit") from error
            self._check = kept_check(job.check, self._checked, finished, lambda text: redact(self._redact(text)))
            limit = settings.agent_max_result_mb * _MEGABYTE
            if not finished.changed or not await running.collect(workspace.incoming, limit=limit):
                raise RunFailedError(
                    f"the agent changed nothing. It said: {finished.text[:1500] or '(nothing)'}", outcome="no_change"
                )
        return finished

    async def _follow(self, running: RunningJob, transcript: Transcript, policy: RunPolicy) -> Finished:
        async for event in running.events():
            transcript.add(event)
            if isinstance(event, Started):
                await self._started()
            elif isinstance(event, Check):
                self._checked = event
            elif isinstance(event, Failed):
                self._turns, self._seconds = event.turns, event.duration_seconds
                await self._blame_budget(event, policy)
                raise RunFailedError(f"the agent failed: {self._redact(event.message)}", outcome=event.reason)
            elif isinstance(event, Finished):
                self._turns, self._seconds = event.turns, event.duration_seconds
                self._finished_at = now()
                log.info("agent_finished", turns=event.turns, changed=event.changed)
                return event
        raise RunnerLostError("the agent runner ended without a result")

    async def _blame_budget(self, event: Failed, policy: RunPolicy) -> None:
        claim, tools = self._claim, self._tools
        spent = await patiently(lambda: tools.jobs.spent(claim))
        await patiently(
            lambda: name_spent_budget(
                tools.spending,
                claim.jira_project_key,
                policy,
                reason=event.reason,
                run_cost_usd=spent.attempt_cost_usd,
            )
        )

    async def _started(self) -> None:
        moment = now()
        if self._claim.accepted_at is not None:
            self._tools.metrics.started_after((moment - self._claim.accepted_at).total_seconds())
        log.info("agent_started")
        await self._note(changes.agent_started(moment))

    async def _publish(
        self,
        project: Mapping[str, Any],
        policy: RunPolicy,
        forge: Forge,
        checkout: Checkout,
        *,
        summary: str,
        changed: str,
    ) -> Outcome:
        claim, tools = self._claim, self._tools
        spent = await patiently(lambda: tools.jobs.spent(claim))
        body = pull_request_body(
            claim,
            Figures(self._turns, self._seconds, spent.cost_usd, policy.model),
            api=tools.api,
            ticket_url=self._ticket_url(project),
            summary=self._redact(summary),
            changes=changed,
            check=self._check,
        )
        text = PullRequestText(
            branch=claim.branch,
            base=checkout.base_branch,
            title=claim.title,
            body=body,
            draft=policy.pull_requests.draft,
            reviewers=tuple(policy.pull_requests.reviewers),
        )
        pull_request = await ensure_pull_request(forge, text)
        moment = now()
        if self._finished_at is not None:
            tools.metrics.published_after((moment - self._finished_at).total_seconds())
        await self._note(changes.published(moment, self._finished_at))
        log.info("pull_request_open", url=pull_request.url, created=pull_request.created)
        return self._outcome(
            spent,
            status=Status.COMPLETED,
            kind="pull_request",
            pr_mr_url=pull_request.url,
            pr_mr_number=pull_request.number,
            details=self._redact(summary) or None,
        )

    async def failed(self, error: ServiceError) -> Outcome:
        """The outcome of a run that this error ended, with what it has cost."""
        return self._outcome(
            await patiently(lambda: self._tools.jobs.spent(self._claim)),
            status=Status.FAILED,
            kind=error.outcome if isinstance(error, RunFailedError) else error.code,
            error_message=self._redact(error.message),
        )

    async def cancelled(self, by: str) -> Outcome:
        """The outcome of a run that a person stopped, with what it has cost."""
        return self._outcome(
            await patiently(lambda: self._tools.jobs.spent(self._claim)),
            status=Status.CANCELLED,
            kind=changes.CANCELLED_OUTCOME,
            error_message=changes.cancelled_message(by),
        )

    def _outcome(self, spent: DevelopmentCost, **given: Any) -> Outcome:
        return Outcome(
            turns=self._turns,
            duration_seconds=self._seconds,
            cost_usd=spent.cost_usd,
            attempt_cost_usd=spent.attempt_cost_usd,
            usage=spent.usage,
            **given,
        )

    async def _note(self, change: Document) -> None:
        await patiently(lambda: self._tools.developments.note(self._claim, change))

    async def _clean_up(self, workspace: Workspace | None) -> None:
        try:
            await self._tools.jobs.close(self._claim)
        except UnavailableError as error:
            # The tokens end by themselves, later.
            log.warning("job_tokens_left_open", error=error.message)
        finally:
            if workspace is not None:
                await asyncio.to_thread(workspace.remove)

    def _ticket_url(self, project: Mapping[str, Any]) -> str | None:
        key = self._claim.jira_issue_key
        if self._tools.jira is not None:
            return self._tools.jira.browse_url(key)
        parts = urlsplit(project.get("jira_project_url") or "")
        return f"{parts.scheme}://{parts.netloc}/browse/{key}" if parts.netloc else None
