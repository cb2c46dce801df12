"""Asking whether a project's repositories can be worked on.

This side only writes the question down and waits for the answer: it has no way out of the appliance and decrypts no
token. A consumer answers (`sdlc_agents.consumer.forge_checks`).
"""

import asyncio

from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.errors import NotFoundError
from sdlc_agents.kernel.mongo import Database, Document
from sdlc_agents.projects.repository import ForgeCheckRepository, ProjectRepository
from sdlc_agents.projects.schemas import CheckOutput, CheckState, RepositoryCheckOutput

WAIT_SECONDS = 20
_LOOK_SECONDS = 0.2


class ForgeCheckService:
    """What the endpoints do."""

    def __init__(self, db: Database) -> None:
        self._projects = ProjectRepository(db)
        self._checks = ForgeCheckRepository(db)

    async def check(self, project_id: str, caller: Caller, wait_seconds: float) -> CheckOutput:
        """Ask for a check and wait so long for its end; as it is then. Raises `NotFoundError`."""
        await self._find_project(project_id)
        document = await self._checks.request(project_id, caller.name)
        clock = asyncio.get_running_loop()
        deadline = clock.time() + wait_seconds
        while document["state"] == CheckState.WAITING and clock.time() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
            document = await self._find(project_id, document["_id"])
        return _shown(document)

    async def get(self, project_id: str, check_id: str) -> CheckOutput:
        """One check; raises `NotFoundError`."""
        await self._find_project(project_id)
        return _shown(await self._find(project_id, check_id))

    async def _find_project(self, project_id: str) -> None:
        if await self._projects.get(project_id) is None:
            raise NotFoundError("there is no such project")

    async def _find(self, project_id: str, check_id: str) -> Document:
        document = await self._checks.get(project_id, check_id)
        if document is None:
            raise NotFoundError("there is no such check")
        return document


def _shown(document: Document) -> CheckOutput:
    done = document["state"] == CheckState.DONE
    results = [RepositoryCheckOutput(**result) for result in document["results"]] if done else None
    return CheckOutput(
        id=document["_id"],
        project_id=document["project_id"],
        state=document["state"],
        requested_at=document["requested_at"],
        done_at=document.get("done_at"),
        ok=None if results is None else all(result.ok for result in results),
        results=results,
    )
