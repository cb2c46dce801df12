"""The variants and the load generator as processes."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from benchmarks.against import Code

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A running variant."""

    variant: str
    port: int
    metrics_port: int
    process: asyncio.subprocess.Process

    def cpu_seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def most_resident_mib(self) -> float:
        """The most memory it has had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@asynccontextmanager
async def server(
    variant: str, environment: Mapping[str, str], log: Path, code: Code, program: str
) -> AsyncIterator[Server]:
    """A variant, ready for requests; ended when the block is left. `program` is its name in this code."""
    port, metrics_port = _free_port(), _free_port()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(code.python, "-m", "benchmarks.server", program),
            cwd=code.app,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(code.app / "src"),
                "JIRA_WEBHOOK_API_PORT": str(port),
                "METRICS_PORT": str(metrics_port),
                **environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        await _ready(process, metrics_port, log)
        yield Server(variant, port, metrics_port, process)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def build_load(folder: Path) -> Path:
    """Compile `load.c`."""
    program = folder / "load"
    await _run("cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(HERE / "load.c"))
    return program


async def load(program: Path, target: Server, connections: int, seconds: float, requests: Path) -> dict[str, Any]:
    """Send the requests over so many connections for so long; what `load.c` tells of it.

    Raises `RuntimeError` unless every request was answered 200 and accepted, and there were enough of them.
    """
    arguments = ("127.0.0.1", str(target.port), str(connections), str(seconds), str(requests), '"accepted"')
    told: dict[str, Any] = orjson.loads(await _run(str(program), *arguments))
    if told["bad"] or told["broken"] or told["exhausted"]:
        raise RuntimeError(f"{target.variant} at {connections} connections: {told}")
    return told


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}")
    return output


async def _ready(process: asyncio.subprocess.Process, metrics_port: int, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"the server ended: {_end_of(log)}")
            with suppress(httpx.HTTPError):
                if (await client.get(f"http://127.0.0.1:{metrics_port}/ready")).status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(0.05)


def _end_of(log: Path) -> str:
    return log.read_text()[-2000:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
