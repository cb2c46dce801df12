"""The lab's Jira emulator (jira820 behind a token), in this process."""

from collections.abc import AsyncIterator

import pytest
from lab.services.jira import server as jira_server

from sdlc_agents.kernel.serving import serve
from support.lab import JIRA_TOKEN


@pytest.fixture
async def jira_url() -> AsyncIterator[str]:
    """A Jira with project SHOP and no ticket."""
    async with serve(jira_server.build(JIRA_TOKEN), port=0, host="127.0.0.1") as port:
        yield f"http://127.0.0.1:{port}"
