"""The answer on the pull request: how a follow-up ended, for the reviewer who asked for it.

It is made once, found again by a marker that nobody sees, notifies nobody, and starts no run: the bot is not heard.
"""

from sdlc_agents.developments.model import RunFailedError, Status
from sdlc_agents.forges.model import ForgeError, ForgeUnavailableError
from sdlc_agents.kernel.errors import ServiceError
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.projects.reader import ProjectReader
from sdlc_agents.reviews.access import ForgeAccess
from sdlc_agents.runs.figures import cost, duration
from sdlc_agents.runs.harmless import harmless

_CHARACTERS = 6000


class AnswerRefusedError(ServiceError):
    """The forge will not take this answer, however often it is sent; the message says why."""

    status = 502
    code = "answer_refused"


class Answers:
    """Says on pull requests what became of the changes that were asked for."""

    def __init__(self, projects: ProjectReader, access: ForgeAccess) -> None:
        self._projects = projects
        self._access = access

    async def send(self, document: Document) -> None:
        """Answer an ended follow-up, unless that was done.

        Raises `AnswerRefusedError` when it never will be, another `ServiceError` when it cannot be done now.
        """
        project = await self._projects.find(document["jira_project_key"])
        if project is None:
            raise AnswerRefusedError("the project is not registered any more")
        marker = f"<!-- sdlc-agents {document['_id']} {document['lease']['fence']} -->"
        try:
            forge = await self._access.open(project, document.get("repository_url"))
            await forge.comment(document["follow_up"]["pull_request_number"], answer(document), marker)
        except ForgeUnavailableError:
            raise
        except (ForgeError, RunFailedError) as error:
            raise AnswerRefusedError(error.message) from error


def answer(document: Document) -> str:
    """Markdown, from the ended development."""
    asked = document["follow_up"]["requested_by"]
    if document["status"] == Status.COMPLETED:
        said = harmless(document.get("development_details") or "(the agent left no summary)")
        text = f"The changes that {asked} asked for are on this branch.\n\n{said}"
    elif document["status"] == Status.CANCELLED:
        text = f"The work on what {asked} asked for was stopped: {harmless(document['error_message'])}"
    elif document.get("outcome") == "no_change":
        text = f"What {asked} asked for led to no change: {harmless(document['error_message'])}"
    else:
        reason = harmless(document.get("error_message") or "no reason known")
        text = f"What {asked} asked for could not be done: {reason}"
    figures = (
        f"{document.get('turns') or 0} turns · {duration(document.get('duration_seconds') or 0)} · "
        f"{cost(document.get('cost_usd') or 0)} · development `{document['_id']}`"
    )
    return f"{text[:_CHARACTERS]}\n\n---\n{figures}"
