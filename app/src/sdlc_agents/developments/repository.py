"""The only module of this domain that knows MongoDB. Rights it needs: `developments` find."""

from sdlc_agents import paging
from sdlc_agents.developments.schemas import DevelopmentOutput
from sdlc_agents.errors import NotFoundError
from sdlc_agents.mongo import Database, Document, translate_errors

_FIELDS = {name: 1 for name in DevelopmentOutput.model_fields if name != "id"}


class DevelopmentRepository:
    """Reads developments."""

    def __init__(self, db: Database) -> None:
        self._developments = db["developments"]

    async def page(
        self, jira_project_key: str | None, status: str | None, limit: int, cursor: str | None
    ) -> paging.Page[DevelopmentOutput]:
        """Newest first."""
        given = {"jira_project_key": jira_project_key, "status": status}
        query: Document = {name: {"$eq": value} for name, value in given.items() if value is not None}
        with translate_errors():
            found = (
                await self._developments.find(paging.after(query, cursor), _FIELDS)
                .sort("_id", -1)
                .limit(limit + 1)
                .to_list()
            )
        documents, following = paging.cut(found, limit)
        return paging.Page(items=[_shown(document) for document in documents], next_cursor=following)

    async def get(self, development_id: str) -> DevelopmentOutput:
        """One development; raises `NotFoundError`."""
        with translate_errors():
            document = await self._developments.find_one({"_id": {"$eq": development_id}}, _FIELDS)
        if document is None:
            raise NotFoundError("there is no such development")
        return _shown(document)


def _shown(document: Document) -> DevelopmentOutput:
    return DevelopmentOutput(id=document.pop("_id"), **document)
