"""Answers the configuration API's questions whether a project's repositories can be worked on.

A task of its own beside the run under way, so that a busy consumer answers too. Any consumer may take a question;
nothing is written to a forge.
"""

import asyncio

import httpx
import structlog

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import ForgeError, Problem, ProblemCode
from sdlc_agents.kernel.encryption import FieldCipher, FieldEncryptionError
from sdlc_agents.kernel.errors import UnavailableError
from sdlc_agents.kernel.mongo import Database, Document
from sdlc_agents.projects.repository import ForgeCheckRepository, ProjectRepository

LOOK_SECONDS = 0.5
CLAIM_SECONDS = 60.0
REPOSITORY_SECONDS = 15.0
"""Less than the configuration API waits."""

_AT_ONCE = 16

log = structlog.get_logger()


class ForgeChecks:
    """Takes checks one after the other, and tries a project's repositories side by side."""

    def __init__(self, db: Database, cipher: FieldCipher, outside: httpx.AsyncClient) -> None:
        self._checks = ForgeCheckRepository(db)
        self._projects = ProjectRepository(db)
        self._cipher = cipher
        self._outside = outside

    async def run(self) -> None:
        """Answer until cancelled. A database that is away is asked again."""
        while True:
            try:
                found = await self._checks.claim(CLAIM_SECONDS)
                if found is not None:
                    await self._answer(found)
                    continue
            except UnavailableError as error:
                log.warning("dependency_away", error=error.message)
            except Exception:  # the answering must not end for good because one check failed
                log.exception("project_check_crashed")
            await asyncio.sleep(LOOK_SECONDS)

    async def _answer(self, check: Document) -> None:
        project = await self._projects.get(check["project_id"])
        follow_ups = bool(((project or {}).get("pull_requests") or {}).get("follow_up_by"))
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(repository: Document) -> Document:
            async with places:
                problems = await self._problems(repository, follow_ups=follow_ups)
            return {
                "repository_id": repository["repository_id"],
                "url": repository["url"],
                "ok": not problems,
                "problems": [{"code": problem.code.value, "message": problem.message} for problem in problems],
            }

        repositories = [] if project is None else project["repositories"]
        results = await asyncio.gather(*(one(repository) for repository in repositories))
        await self._checks.finish(check["_id"], list(results))
        codes = sorted({problem["code"] for result in results for problem in result["problems"]})
        log.info("project_checked", project_id=check["project_id"], repositories=len(results), problems=codes)

    async def _problems(self, repository: Document, *, follow_ups: bool) -> list[Problem]:
        try:
            async with asyncio.timeout(REPOSITORY_SECONDS):
                token = await self._cipher.decrypt(repository["git_access_token"])
                forge = await connection.connect(repository["url"], token, self._outside, repository.get("forge"))
                return await forge.check(repository.get("base_branch"), follow_ups=follow_ups)
        except FieldEncryptionError:
            return [
                Problem(
                    ProblemCode.TOKEN_UNREADABLE,
                    "the stored git_access_token cannot be decrypted with this FIELD_ENCRYPTION_KEY: set it again",
                )
            ]
        except ForgeError as error:
            return [Problem(error.problem or ProblemCode.FORGE_UNSUPPORTED, error.message)]
        except TimeoutError:
            return [
                Problem(
                    ProblemCode.FORGE_UNREACHABLE,
                    f"the forge did not answer within {REPOSITORY_SECONDS:g} seconds: is the address right?",
                )
            ]
        except UnavailableError:
            raise
        except Exception as error:  # one repository's oddity is no reason to leave the others without an answer
            log.exception("repository_check_crashed", repository_id=repository["repository_id"])
            message = f"the check itself failed ({type(error).__name__}): look at the consumer's log"
            return [Problem(ProblemCode.FORGE_FAILED, message)]
