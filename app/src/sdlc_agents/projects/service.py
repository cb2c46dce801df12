"""Projects and their repositories: rules, encryption of tokens, and the trace of each change."""

from collections.abc import Awaitable, Callable, Sequence

from sdlc_agents.audit import AuditLog
from sdlc_agents.kernel.callers import Caller
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.errors import ConflictError, InvalidRequestError, NotFoundError
from sdlc_agents.kernel.ids import new_id
from sdlc_agents.kernel.mongo import Database, Document, Session, in_transaction
from sdlc_agents.projects import revisions, tokens
from sdlc_agents.projects.repository import MAX_LISTED, ProjectRepository
from sdlc_agents.projects.schemas import ProjectInput, ProjectOutput, RepositoryInput, RepositoryOutput, Trigger

Change = Callable[[Document, Session], Awaitable[Document]]
"""From a project's document to its new state."""


class ProjectService:
    """What the endpoints do.

    `trigger_status` is what starts a development in projects without a trigger of their own. `if_match` is the caller's
    If-Match: a change raises `PreconditionFailedError` when the project has another revision. Changes of repositories
    answer with the project's new revision too.
    """

    def __init__(self, db: Database, cipher: FieldCipher, trigger_status: str = Trigger().status) -> None:
        self._db = db
        self._trigger_status = trigger_status
        self._cipher = cipher
        self._projects = ProjectRepository(db)
        self._audit = AuditLog(db)

    async def list(
        self, jira_project_key: str | None, limit: int | None, cursor: str | None
    ) -> tuple[list[ProjectOutput], str | None]:
        """Projects by their Jira keys, or the one of a Jira project (none or one); and the cursor of what follows.

        `cursor` is the key of the last one seen; without `limit` as many as an answer holds.
        """
        size = limit or MAX_LISTED
        found = await self._projects.list(jira_project_key, cursor, size + 1)
        following = found[size - 1]["jira_project_key"] if len(found) > size else None
        return [_shown(document) for document in found[:size]], following

    async def get(self, project_id: str) -> ProjectOutput:
        """One project; raises `NotFoundError`."""
        return _shown(_found(await self._projects.get(project_id)))

    async def create(self, given: ProjectInput, caller: Caller) -> ProjectOutput:
        """Keep a new project; raises `ConflictError` when its Jira project has one."""
        self._check_moves(given)
        moment = now()
        repositories = [
            await self._repository(repository, [], f"repositories.{index}")
            for index, repository in enumerate(given.repositories)
        ]
        document = {
            "_id": new_id(),
            **_fields(given),
            "repositories": repositories,
            "revision": 1,
            "created_at": moment,
            "updated_at": moment,
        }

        async def work(session: Session) -> None:
            await self._projects.add(document, session)
            await self._audit.record(caller, "project.created", document["_id"], None, _recorded(document), session)

        await in_transaction(self._db, work)
        return _shown(document)

    async def update(self, project_id: str, given: ProjectInput, caller: Caller, if_match: str | None) -> ProjectOutput:
        """Replace a project; masked tokens stay what they are."""
        self._check_moves(given)

        async def change(document: Document, _session: Session) -> Document:
            kept = document["repositories"]
            repositories = [
                await self._repository(repository, kept, f"repositories.{index}")
                for index, repository in enumerate(given.repositories)
            ]
            kept_fields = {name: document[name] for name in ("_id", "created_at")}
            return {**kept_fields, **_fields(given), "repositories": repositories}

        return _shown(await self._change(project_id, "project.updated", caller, if_match, change))

    async def delete(self, project_id: str, caller: Caller, if_match: str | None) -> None:
        """Remove a project; raises `NotFoundError`."""

        async def work(session: Session) -> None:
            document = _found(await self._projects.get(project_id, session))
            revisions.check(if_match, document)
            await self._projects.remove(document, session)
            await self._audit.record(caller, "project.deleted", project_id, _recorded(document), None, session)

        await in_transaction(self._db, work)

    async def add_repository(
        self, project_id: str, given: RepositoryInput, caller: Caller, if_match: str | None
    ) -> tuple[RepositoryOutput, int]:
        """Add a repository; raises `ConflictError` when the project has one of this id."""

        async def change(document: Document, _session: Session) -> Document:
            kept = document["repositories"]
            if any(repository["repository_id"] == given.repository_id for repository in kept):
                raise ConflictError(f"repository_id: the project has a repository {given.repository_id} already")
            return {**document, "repositories": [*kept, await self._repository(given, [], "")]}

        document = await self._change(project_id, "repository.added", caller, if_match, change)
        return RepositoryOutput(**_masked_repository(document["repositories"][-1])), document["revision"]

    async def update_repository(
        self, project_id: str, repository_id: str, given: RepositoryInput, caller: Caller, if_match: str | None
    ) -> tuple[RepositoryOutput, int]:
        """Replace a repository; its id stays, a masked token too."""
        if given.repository_id not in {None, repository_id}:
            raise InvalidRequestError("repository_id: must be the one in the path")
        position = 0

        async def change(document: Document, _session: Session) -> Document:
            nonlocal position
            kept = document["repositories"]
            position = _position(kept, repository_id)
            named = given.model_copy(update={"repository_id": repository_id})
            replaced = await self._repository(named, kept, "")
            return {**document, "repositories": [*kept[:position], replaced, *kept[position + 1 :]]}

        document = await self._change(project_id, "repository.updated", caller, if_match, change)
        return RepositoryOutput(**_masked_repository(document["repositories"][position])), document["revision"]

    async def delete_repository(self, project_id: str, repository_id: str, caller: Caller, if_match: str | None) -> int:
        """Remove a repository; raises `ConflictError` when it is the project's last."""

        async def change(document: Document, _session: Session) -> Document:
            kept = document["repositories"]
            position = _position(kept, repository_id)
            if len(kept) == 1:
                raise ConflictError("a project keeps at least one repository: delete the project instead")
            return {**document, "repositories": [*kept[:position], *kept[position + 1 :]]}

        document = await self._change(project_id, "repository.removed", caller, if_match, change)
        return int(document["revision"])

    async def _change(
        self, project_id: str, action: str, caller: Caller, if_match: str | None, change: Change
    ) -> Document:
        async def work(session: Session) -> Document:
            before = _found(await self._projects.get(project_id, session))
            revisions.check(if_match, before)
            changed = await change(before, session)
            after = {**changed, "revision": revisions.revision(before) + 1, "updated_at": now()}
            await self._projects.replace(before, after, session)
            await self._audit.record(caller, action, project_id, _recorded(before), _recorded(after), session)
            return after

        return await in_transaction(self._db, work)

    def _check_moves(self, given: ProjectInput) -> None:
        """Refuse that a ticket be moved to where moving it starts another development."""
        trigger = given.trigger.status if given.trigger is not None else self._trigger_status
        for name, status in given.ticket.model_dump(exclude_none=True).items():
            if status.casefold() == trigger.strip().casefold():
                raise InvalidRequestError(
                    f'ticket.{name}: "{status}" is the status that starts a development here: moving a ticket there '
                    "would start another one; name a different status, or give the project another trigger"
                )

    async def _repository(self, given: RepositoryInput, kept: Sequence[Document], place: str) -> Document:
        """The repository's document; a masked token is replaced by the encrypted one among `kept`."""
        token = given.git_access_token.get_secret_value()
        document: Document = {
            "repository_id": given.repository_id or new_id(),
            "url": given.url,
            "description": given.description,
            "base_branch": given.base_branch,
            "forge": given.forge,
        }
        if not tokens.is_masked(token):
            return {
                **document,
                "git_access_token": await self._cipher.encrypt(token),
                "git_access_token_hint": tokens.hint(token),
            }
        for former in kept:
            if former["repository_id"] == given.repository_id and former["git_access_token_hint"] == token:
                return {**document, **{name: former[name] for name in ("git_access_token", "git_access_token_hint")}}
        field = f"{place}.git_access_token" if place else "git_access_token"
        raise InvalidRequestError(f"{field}: is masked, and no repository of this repository_id has such a token")


def _found(document: Document | None) -> Document:
    if document is None:
        raise NotFoundError("there is no such project")
    return document


def _position(repositories: Sequence[Document], repository_id: str) -> int:
    for position, repository in enumerate(repositories):
        if repository["repository_id"] == repository_id:
            return position
    raise NotFoundError("there is no such repository")


def _fields(given: ProjectInput) -> Document:
    return given.model_dump(mode="json", exclude={"repositories"}, exclude_none=True)


def _masked_repository(repository: Document) -> Document:
    return {
        "repository_id": repository["repository_id"],
        "url": repository["url"],
        "description": repository["description"],
        "git_access_token": repository["git_access_token_hint"],
        "base_branch": repository["base_branch"],
        "forge": repository.get("forge"),
    }


def _shown(document: Document) -> ProjectOutput:
    masked = [_masked_repository(repository) for repository in document["repositories"]]
    fields = {
        "trigger": None,
        "agent": {},
        "pull_requests": {},
        "ticket": {},
        **document,
        "id": document["_id"],
        "revision": revisions.revision(document),
        "repositories": masked,
    }
    return ProjectOutput(**{name: fields[name] for name in ProjectOutput.model_fields})


def _recorded(document: Document) -> Document:
    """What the audit log keeps: what the API shows."""
    return {**_shown(document).model_dump(), "created_at": document["created_at"], "updated_at": document["updated_at"]}
