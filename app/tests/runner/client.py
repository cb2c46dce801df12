"""A consumer, as far as a runner sees one, and its job."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from support.repositories import git

BRANCH = "feature/SHOP-1"


@dataclass
class Client:
    """A consumer, as far as the runner sees one."""

    url: str
    http: httpx.AsyncClient
    job: dict[str, Any]
    bundle: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, **given: Any) -> list[dict[str, Any]]:
        async with self.start(**given) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line:
                    self.events.append(orjson.loads(line))
        return self.events

    def start(self, **given: Any) -> Any:
        job = orjson.dumps(self.job | given).decode()
        return self.http.stream(
            "POST", f"{self.url}/v1/jobs", data={"job": job}, files={"bundle": ("b", self.bundle.read_bytes())}
        )

    async def result(self, repository: Path) -> str:
        """Fetch the result into the repository; its commit."""
        response = await self.http.get(f"{self.url}/v1/jobs/{self.job['job_id']}/bundle")
        assert response.status_code == 200
        path = repository.parent / "result.bundle"
        path.write_bytes(response.content)
        git(repository, "fetch", "--quiet", str(path), f"{BRANCH}:result")
        return git(repository, "rev-parse", "result")

    async def discard(self) -> int:
        return (await self.http.delete(f"{self.url}/v1/jobs/{self.job['job_id']}")).status_code


def bash(command: str, option: str = "") -> str:
    """A prompt that makes the scripted model run this; an option of the script's: `anyway=1`, `background=1`."""
    return f"[[lab:bash {option}]]\n```bash\n{command}\n```\n"


def alive(pid: Path) -> bool:
    """Whether the process whose id is in the file runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{int(pid.read_text())}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"
