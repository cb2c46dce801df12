"""The services as the processes they are in production, on loopback."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

SOURCE = Path(__file__).resolve().parents[2] / "src"
_READY_SECONDS = 60.0
# Queue and exchange names of a test's own, as the `broker` fixture makes them.
_LAUNCH = """
import os, sys
from sdlc_agents import amqp
for name in [name for name in os.environ if name.startswith("TEST_")]:
    setattr(amqp, name.removeprefix("TEST_"), os.environ.pop(name))
from sdlc_agents.cli import main
main(sys.argv[1:])
"""


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_environment() -> dict[str, str]:
    """What every process of a test needs: where programs are, and where to note what ran, if that is measured."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return {"PATH": os.environ["PATH"], **kept}


@dataclass(frozen=True)
class Service:
    """A running service."""

    process: asyncio.subprocess.Process
    metrics_url: str
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def terminate(self) -> None:
        """End it as Docker would."""
        self.process.terminate()

    async def ended(self, seconds: float = 15.0) -> int:
        """Its exit status."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def metrics(self) -> str:
        """What Prometheus would read."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{self.metrics_url}/metrics")).text

    def resident_megabytes(self) -> float:
        """Its memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@asynccontextmanager
async def service(
    name: str, environment: Mapping[str, str], log: Path, *, ready: bool = True, prefix: Sequence[str] = ()
) -> AsyncIterator[Service]:
    """`sdlc-agents <name>` with nothing but this environment; killed when the block is left.

    `prefix` is a command that runs it, and that takes it along when it is killed itself.
    """
    port = free_port()
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *prefix,
            sys.executable,
            "-c",
            _LAUNCH,
            name,
            env={
                **bare_environment(),
                "PYTHONPATH": str(SOURCE),
                "PYTHONDONTWRITEBYTECODE": "1",
                "METRICS_PORT": str(port),
                **environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    running = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        if ready:
            await _ready(running)
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def _ready(running: Service) -> None:
    async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            if running.process.returncode is not None:
                raise AssertionError(f"the service ended: {running.log.read_text()[-2000:]}")
            with suppress(httpx.HTTPError):
                if (await client.get(f"{running.metrics_url}/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)
