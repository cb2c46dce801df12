"""The only module of this domain that knows MongoDB. Rights it needs: `projects` find, insert, update, remove."""

from pymongo.errors import DuplicateKeyError

from sdlc_agents.errors import ConflictError
from sdlc_agents.mongo import Database, Document, Session, translate_errors

MAX_LISTED = 1000


class ProjectRepository:
    """Project documents. A Jira project has at most one."""

    def __init__(self, db: Database) -> None:
        self._projects = db["projects"]

    async def list(self, jira_project_key: str | None) -> list[Document]:
        """All projects by key, or the one of this key."""
        wanted = {} if jira_project_key is None else {"jira_project_key": {"$eq": jira_project_key}}
        with translate_errors():
            return await self._projects.find(wanted).sort("jira_project_key", 1).limit(MAX_LISTED).to_list()

    async def get(self, project_id: str, session: Session | None = None) -> Document | None:
        """One project."""
        with translate_errors():
            return await self._projects.find_one({"_id": {"$eq": project_id}}, session=session)

    async def add(self, document: Document, session: Session) -> None:
        """Keep a new project; raises `ConflictError` when its Jira project has one."""
        try:
            await self._projects.insert_one(document, session=session)
        except DuplicateKeyError as error:
            raise _taken(document) from error

    async def replace(self, document: Document, session: Session) -> None:
        """Keep a project's new state; raises `ConflictError` when its Jira project has another one."""
        try:
            await self._projects.replace_one({"_id": document["_id"]}, document, session=session)
        except DuplicateKeyError as error:
            raise _taken(document) from error

    async def remove(self, project_id: str, session: Session) -> None:
        """Remove a project."""
        await self._projects.delete_one({"_id": project_id}, session=session)


def _taken(document: Document) -> ConflictError:
    return ConflictError(f"jira_project_key: there is a project for {document['jira_project_key']} already")
