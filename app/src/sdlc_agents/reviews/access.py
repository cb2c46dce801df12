"""The way to a repository's forge from a project's document."""

import httpx

from sdlc_agents.forges import connection
from sdlc_agents.forges.model import Forge
from sdlc_agents.kernel.encryption import FieldCipher
from sdlc_agents.kernel.mongo import Document
from sdlc_agents.projects.repository_selection import find_repository


class ForgeAccess:
    """Opens forges with the projects' tokens, which are decrypted here and nowhere before."""

    def __init__(self, cipher: FieldCipher, outside: httpx.AsyncClient) -> None:
        self._cipher = cipher
        self._outside = outside

    async def open(self, project: Document, repository_url: str | None) -> Forge:
        """The forge of the project's repository with this URL.

        Raises `RunFailedError` when the project has none, `FieldEncryptionError` when its token cannot be read,
        `ForgeError` when no provider speaks to the forge.
        """
        repository = find_repository(project["repositories"], repository_url)
        token = await self._cipher.decrypt(repository["git_access_token"])
        return await connection.connect(repository["url"], token, self._outside, repository.get("forge"))
