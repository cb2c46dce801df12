"""The only module of this domain that knows MongoDB. Claims go by the database's clock (`$$NOW`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from pymongo import ReturnDocument, UpdateOne

from sdlc_agents.developments.model import UNDER_WAY, FollowUp, Status, queued_from_review
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.mongo import Database, Document, Session, in_transaction, translate_errors
from sdlc_agents.kernel.rights import Action, rights, together
from sdlc_agents.reviews.rules import Handled

PULL_REQUESTS = 1000
"""How many are watched at most, the newest."""

RIGHTS = together(
    rights(Action.FIND, Action.INSERT, Action.UPDATE, on="pull_request_watches"),
    rights(Action.FIND, Action.INSERT, on="developments"),
    rights(Action.FIND, on="projects"),
)


@dataclass(frozen=True)
class Watch:
    """A pull request that this consumer looks at now. `fence` grows with every claim, and every write carries it.

    `development_id` is the newest development that led to it, which ended at `completed_at`.
    """

    url: str
    number: int
    fence: int
    development_id: str
    jira_project_key: str
    repository_url: str
    forge: str
    completed_at: datetime
    handled: Handled


class WatchRepository:
    """Which pull requests are looked at, by whom, and what of them is handled."""

    def __init__(self, db: Database, owner: str) -> None:
        self._db = db
        self._watches = db["pull_request_watches"]
        self._developments = db["developments"]
        self._projects = db["projects"]
        self._owner = owner

    async def projects(self) -> dict[str, Document]:
        """The projects in which somebody may ask for changes, by their Jira keys."""
        query = {"pull_requests.follow_up_by.0": {"$exists": True}}
        with translate_errors():
            return {document["jira_project_key"]: document async for document in self._projects.find(query)}

    async def newest(self, project_keys: Sequence[str], days: int) -> list[Document]:
        """The latest pull request of each ticket in each repository, of these projects and the last days."""
        query = {
            "jira_project_key": {"$in": list(project_keys)},
            "pr_mr_url": {"$type": "string"},
            # One that a consumer of an older release ended during an upgrade has none, and is not watched.
            "pr_mr_number": {"$type": "number"},
            "status": Status.COMPLETED,
            "completed_at": {"$gt": now() - timedelta(days=days)},
        }
        names = ("pr_mr_url", "pr_mr_number", "jira_project_key", "repository_url", "created_at", "completed_at")
        pipeline: list[Document] = [
            {"$match": query},
            {"$project": {**dict.fromkeys(names, 1), "jira_issue_key": 1}},
            {"$sort": {"_id": -1}},
            {
                "$group": {
                    "_id": {"ticket": "$jira_issue_key", "repository": "$repository_url"},
                    "development_id": {"$first": "$_id"},
                    **{name: {"$first": f"${name}"} for name in names},
                }
            },
            {"$sort": {"completed_at": -1}},
            {"$limit": PULL_REQUESTS},
        ]
        with translate_errors():
            return await (await self._developments.aggregate(pipeline)).to_list()

    async def watch(self, pull_requests: Sequence[Document]) -> None:
        """Watch these, and again those that a newer development led to.

        What was said before the development was activated is no answer to it: it is settled.
        """
        found = {"_id": {"$in": [document["pr_mr_url"] for document in pull_requests]}}
        with translate_errors():
            known = {
                document["_id"]: (document["development_id"], document.get("number"))
                async for document in self._watches.find(found, {"development_id": 1, "number": 1})
            }
        moment = now()
        updates = [
            UpdateOne(
                {"_id": document["pr_mr_url"]},
                {
                    "$set": {
                        "number": document["pr_mr_number"],
                        "development_id": document["development_id"],
                        "jira_project_key": document["jira_project_key"],
                        "repository_url": document["repository_url"],
                        "forge": _forge(document["repository_url"]),
                        "completed_at": document["completed_at"],
                        "state": "open",
                        "next_at": moment,
                        "touched_at": moment,
                    },
                    "$setOnInsert": {"since": document["created_at"], "handled": [], "fence": 0},
                },
                upsert=True,
            )
            for document in pull_requests
            if known.get(document["pr_mr_url"]) != (document["development_id"], document["pr_mr_number"])
        ]
        if updates:
            with translate_errors():
                await self._watches.bulk_write(updates, ordered=False)

    async def claim(self, urls: Sequence[str], lease_seconds: float) -> Watch | None:
        """Take one of these that is due and that nobody looks at; None when there is none."""
        lease = {"$add": ["$$NOW", int(lease_seconds * 1000)]}
        query: Document = {
            "_id": {"$in": list(urls)},
            "state": "open",
            "$expr": {"$and": [{"$lte": ["$next_at", "$$NOW"]}, {"$lt": ["$leased_until", "$$NOW"]}]},
        }
        taken = {"fence": {"$add": ["$fence", 1]}, "owner": {"$literal": self._owner}, "leased_until": lease}
        with translate_errors():
            document = await self._watches.find_one_and_update(
                query, [{"$set": taken}], sort=[("next_at", 1)], return_document=ReturnDocument.AFTER
            )
        return None if document is None else _to_watch(document)

    async def looked(self, watch: Watch, handled: Handled, *, again_in: float, closed: bool = False) -> None:
        """Give a watch back, to be looked at again in so many seconds. Changes nothing for one that is another's."""
        with translate_errors():
            await self._write(watch, handled, again_in, None, state="closed" if closed else "open")

    async def start(self, watch: Watch, follow_up: FollowUp, handled: Handled, *, again_in: float) -> str | None:
        """Queue the follow-up and note that its comments are handled, both or neither; the development's id.

        None when a development of this ticket waits or runs: then the comments are left for when it has ended. None
        as well when this watch is another's by now.
        """

        async def work(session: Session) -> str | None:
            origin = await self._developments.find_one({"_id": watch.development_id}, session=session)
            if origin is None or not await self._write(watch, handled, again_in, session):
                return None
            query = {
                "jira_issue_key": origin["jira_issue_key"],
                "jira_project_key": origin["jira_project_key"],
                "status": {"$in": UNDER_WAY},
            }
            if await self._developments.find_one(query, {"_id": 1}, session=session) is not None:
                await self._write(watch, watch.handled, again_in, session)
                return None
            development = queued_from_review(origin, follow_up)
            await self._developments.insert_one(dict(development), session=session)
            return development["_id"]

        with translate_errors():
            return await in_transaction(self._db, work)

    async def release(self, watch: Watch) -> None:
        """Leave a watch to others as it is: what was written of it stays."""
        query = {"_id": watch.url, "fence": watch.fence, "owner": self._owner}
        with translate_errors():
            await self._watches.update_one(query, {"$unset": {"leased_until": ""}})

    async def postpone(self, forge: str, seconds: float) -> None:
        """Leave every pull request on this forge alone for so long."""
        later = {"$add": ["$$NOW", int(seconds * 1000)]}
        with translate_errors():
            await self._watches.update_many(
                {"forge": forge, "state": "open"},
                [{"$set": {"next_at": {"$max": ["$next_at", later]}}}],
            )

    async def _write(
        self, watch: Watch, handled: Handled, again_in: float, session: Session | None, *, state: str = "open"
    ) -> bool:
        values: Document = {
            "state": state,
            "since": handled.since,
            "handled": {"$literal": [{"id": key, "at": at} for key, at in handled.ids.items()]},
            "next_at": {"$add": ["$$NOW", int(again_in * 1000)]},
            "leased_until": "$$REMOVE",
            "touched_at": "$$NOW",
        }
        query = {"_id": watch.url, "fence": watch.fence, "owner": self._owner}
        return (await self._watches.update_one(query, [{"$set": values}], session=session)).matched_count == 1


def _forge(repository_url: str) -> str:
    parts = urlsplit(repository_url)
    return f"{parts.scheme}://{parts.netloc}"


def _to_watch(document: Document) -> Watch:
    return Watch(
        url=document["_id"],
        number=int(document["number"]),
        fence=int(document["fence"]),
        development_id=document["development_id"],
        jira_project_key=document["jira_project_key"],
        repository_url=document["repository_url"],
        forge=document["forge"],
        completed_at=document["completed_at"],
        handled=Handled(document["since"], {entry["id"]: entry["at"] for entry in document["handled"]}),
    )
