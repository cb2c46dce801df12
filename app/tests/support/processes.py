"""The services as the processes they are in production, on loopback."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from sdlc_agents.kernel.processes import descendants

SOURCE = Path(__file__).resolve().parents[2] / "src"
# Below those that Linux gives by itself (ip_local_port_range), a part for each of pytest's workers, each in turn from
# a place of its own, for another session may run beside this one.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw7").removeprefix("gw")) % 8
_PART = 1500
_PORTS = itertools.cycle(20_000 + _PART * _WORKER + (os.getpid() + number) % _PART for number in range(_PART))
_READY_SECONDS = 60.0
_RESTART_SECONDS = 0.1
_KEPT_READY_SECONDS = 180.0
# Queue and exchange names of a test's own, as the `broker` fixture makes them.
_LAUNCH = """
import os, sys
names = [name for name in os.environ if name.startswith("TEST_")]
if names:
    from sdlc_agents.kernel import amqp
    for name in names:
        setattr(amqp, name.removeprefix("TEST_"), os.environ.pop(name))
from sdlc_agents.commands.cli import main
main(sys.argv[1:])
"""


def free_port() -> int:
    """A port that nothing has, and that nothing gets before whoever asked binds it.

    Those that the system gives would not do: until it is bound, any connection may be given it for its own end.
    """
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("_PORTS never ends")


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
        return self._megabytes("VmRSS")

    def peak_megabytes(self) -> float:
        """The most memory that it ever had."""
        return self._megabytes("VmHWM")

    def _megabytes(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(status.split(f"{name}:")[1].split()[0]) / 1024


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


class Kept:
    """A service that is started again with the same environment whenever it ends, as Docker does with a container."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self._name = name
        self._environment = environment
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._running: Service | None = None
        self._up = asyncio.Event()

    @property
    def current(self) -> Service:
        """The process that runs, or ran last."""
        assert self._running is not None
        return self._running

    def start(self) -> None:
        """Have it run from now on."""
        self._task = asyncio.create_task(self._keep(), name=self._name)

    async def ready(self) -> None:
        """Return when it is ready; it may be starting again, and have others to wait for."""
        async with asyncio.timeout(_KEPT_READY_SECONDS), httpx.AsyncClient(trust_env=False) as client:
            while True:
                await self._up.wait()
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{self.current.metrics_url}/ready")).status_code == httpx.codes.OK:
                        return
                await asyncio.sleep(0.05)

    async def up(self) -> None:
        """Return when a process of it runs, ready or not."""
        await self._up.wait()

    async def kill(self) -> None:
        """End it and all that it started, as the kernel does with a container whose first process was killed."""
        victim = self.current
        self._up.clear()
        kill_family(victim.pid)
        await victim.ended()

    async def stop(self) -> None:
        """End it for good."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            async with service(self._name, self._environment, self._log, ready=False) as self._running:
                self._up.set()
                try:
                    await self._running.process.wait()
                finally:
                    self._up.clear()
                    if self._running.process.returncode is None:
                        kill_family(self._running.pid)
            await asyncio.sleep(_RESTART_SECONDS)


def kill_family(pid: int) -> None:
    """Stop a process and everything below it, then kill them all: none can start another in between."""
    found = {pid}
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    while new := descendants(pid).keys() - found:
        for child in new:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
        found |= new
    for process in found:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


async def _ready(running: Service) -> None:
    async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            if running.process.returncode is not None:
                raise AssertionError(f"the service ended: {running.log.read_text()[-2000:]}")
            with suppress(httpx.HTTPError):
                if (await client.get(f"{running.metrics_url}/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)
