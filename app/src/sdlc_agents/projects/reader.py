"""The projects as the consumer reads them."""

from sdlc_agents.kernel.mongo import Database, Document, translate_errors
from sdlc_agents.kernel.rights import Action, rights

RIGHTS = rights(Action.FIND, on="projects")


class ProjectReader:
    """Reads projects, encrypted tokens included."""

    def __init__(self, db: Database) -> None:
        self._projects = db["projects"]

    async def find(self, jira_project_key: str) -> Document | None:
        """The project of a Jira project; None when none is registered."""
        with translate_errors():
            return await self._projects.find_one({"jira_project_key": {"$eq": jira_project_key}})
