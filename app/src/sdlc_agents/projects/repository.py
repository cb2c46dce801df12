"""The only module of this domain, beside `reader`, that knows MongoDB."""

from datetime import timedelta

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.errors import ConflictError
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.mongo import Database, Document, Session, translate_errors
from sdlc_agents.kernel.rights import Action, rights, together
from sdlc_agents.projects import reader
from sdlc_agents.projects.schemas import CheckState

MAX_LISTED = 1000
RIGHTS_TO_CHANGE = together(
    reader.RIGHTS,
    rights(Action.INSERT, Action.UPDATE, Action.REMOVE, on="projects"),
    rights(Action.INSERT, Action.UPDATE, Action.REMOVE, on="project_triggers"),
)
RIGHTS_TO_ASK_FOR_CHECKS = rights(Action.FIND, Action.INSERT, on="project_checks")
RIGHTS_TO_ANSWER_CHECKS = rights(Action.FIND, Action.UPDATE, on="project_checks")


class ProjectRepository:
    """Project documents, and beside each the trigger that the webhook API reads. A Jira project has at most one.

    A change of a project changes its trigger in the same transaction, so neither is ever seen without the other.
    """

    def __init__(self, db: Database) -> None:
        self._projects = db["projects"]
        self._triggers = db["project_triggers"]

    async def list(self, jira_project_key: str | None, after_key: str | None, limit: int) -> list[Document]:
        """Up to `limit` projects by their keys: those that follow `after_key`, or the one of `jira_project_key`."""
        bounds: Document = {}
        if jira_project_key is not None:
            bounds["$eq"] = jira_project_key
        if after_key is not None:
            bounds["$gt"] = after_key
        wanted = {"jira_project_key": bounds} if bounds else {}
        with translate_errors():
            return await self._projects.find(wanted).sort("jira_project_key", 1).limit(limit).to_list()

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
        await self._set_trigger(document, session)

    async def replace(self, former: Document, document: Document, session: Session) -> None:
        """Keep a project's new state; raises `ConflictError` when its Jira project has another one."""
        try:
            await self._projects.replace_one({"_id": document["_id"]}, document, session=session)
        except DuplicateKeyError as error:
            raise _taken(document) from error
        if former["jira_project_key"] != document["jira_project_key"]:
            await self._remove_trigger(former, session)
        await self._set_trigger(document, session)

    async def remove(self, document: Document, session: Session) -> None:
        """Remove a project."""
        await self._projects.delete_one({"_id": document["_id"]}, session=session)
        await self._remove_trigger(document, session)

    async def _set_trigger(self, document: Document, session: Session) -> None:
        trigger = document.get("trigger")
        if trigger is None:
            await self._remove_trigger(document, session)
            return
        await self._triggers.replace_one(
            {"_id": document["jira_project_key"]},
            {**trigger, "updated_at": document["updated_at"]},
            upsert=True,
            session=session,
        )

    async def _remove_trigger(self, document: Document, session: Session) -> None:
        await self._triggers.delete_one({"_id": document["jira_project_key"]}, session=session)


class ForgeCheckRepository:
    """Requests to check a project, which the configuration API writes and a consumer answers; they expire."""

    def __init__(self, db: Database) -> None:
        self._checks = db["project_checks"]

    async def request(self, project_id: str, requested_by: str) -> Document:
        """Ask for a check, or join the one that is asked for already and not begun."""
        with translate_errors():
            waiting = await self._checks.find_one(
                {"state": CheckState.WAITING, "claimed_until": None, "project_id": {"$eq": project_id}}
            )
            if waiting is not None:
                return waiting
            document: Document = {
                "_id": new_id(),
                "project_id": project_id,
                "requested_at": now(),
                "requested_by": requested_by,
                "state": CheckState.WAITING,
                "claimed_until": None,
            }
            await self._checks.insert_one(document)
        return document

    async def get(self, project_id: str, check_id: str) -> Document | None:
        """One check of a project."""
        with translate_errors():
            return await self._checks.find_one({"_id": {"$eq": check_id}, "project_id": {"$eq": project_id}})

    async def claim(self, seconds: float) -> Document | None:
        """Take the oldest check that nobody does; it is another's to take when it is not done after `seconds`."""
        moment = now()
        with translate_errors():
            return await self._checks.find_one_and_update(
                {"state": CheckState.WAITING, "claimed_until": {"$not": {"$gt": moment}}},
                {"$set": {"claimed_until": moment + timedelta(seconds=seconds)}},
                sort=[("requested_at", 1)],
                return_document=ReturnDocument.AFTER,
            )

    async def finish(self, check_id: str, results: list[Document]) -> None:
        """Keep a check's results, a repository each."""
        with translate_errors():
            await self._checks.update_one(
                {"_id": check_id, "state": CheckState.WAITING},
                {"$set": {"state": CheckState.DONE, "done_at": now(), "results": results}},
            )


def _taken(document: Document) -> ConflictError:
    return ConflictError(f"jira_project_key: there is a project for {document['jira_project_key']} already")
