"""`python -m benchmarks.gateway`: what the LLM gateway adds to the first byte of an answer.

Writes docs/benchmarks/gateway.md; with BENCH_QUICK=1 measures less and only tells.
"""

import asyncio
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import orjson
from pydantic import SecretStr

from benchmarks.machine import machine
from benchmarks.world import ROOT, lab_services
from sdlc_agents.gateway.ledger import FRESH_SECONDS
from sdlc_agents.kernel import mongo
from sdlc_agents.kernel.clock import now
from sdlc_agents.kernel.settings import MongoSettings
from sdlc_agents.migrations import schema
from sdlc_agents.runs.tokens import digest

PAGE = ROOT / "docs" / "benchmarks" / "gateway.md"
SIZES = {"64 kB": 64 * 1000, "1 MB": 1000 * 1000}
CONCURRENCY = (1, 4)
REQUESTS, QUICK_REQUESTS = 2000, 160
BAR_MS = 10.0
_ROUNDS = 40
_START_SECONDS = 60.0
_OK = 200

_HOW = """\
The gateway is a process as it is deployed: MongoDB (a replica set of one member, TLS), a job of a project with budgets
of the day and the month, and behind it, over HTTP on loopback, the lab's scripted Messages API as a process of its own.
The same streaming request goes to that API directly and through the gateway, in turn, over connections that are kept
open. Half of the rounds begin after a pause longer than what the gateway remembers of a job, as an agent's requests do
while its tools run: those wait for the database. The time is that from the request's start to the first byte of the
answer's body; *added* is the difference of the percentiles. CPU is the gateway's, of a whole request with its
count.
"""


@dataclass(frozen=True)
class Row:
    """One size at one concurrency: (p50, p90, p99) of the time to the first byte in ms, and the gateway's CPU."""

    size: str
    concurrent: int
    requests: int
    direct: tuple[float, float, float]
    through: tuple[float, float, float]
    cpu_ms: float

    @property
    def added(self) -> tuple[float, float, float]:
        """What the gateway adds to each of them."""
        p50, p90, p99 = (through - direct for direct, through in zip(self.direct, self.through, strict=True))
        return p50, p90, p99


@dataclass(frozen=True)
class _Target:
    """Where requests go, with which credential."""

    url: str
    headers: Mapping[str, str]


async def measure_gateway(requests: int = REQUESTS) -> list[Row]:
    """Start everything, measure every size at every concurrency, and leave nothing behind."""
    rows = []
    async with _targets() as (direct, through, pid), httpx.AsyncClient(trust_env=False, timeout=60) as client:
        for concurrent in CONCURRENCY:
            for size, length in SIZES.items():
                body = _body(length)
                times: dict[str, list[float]] = {direct.url: [], through.url: []}
                cpu = 0.0
                for number in range(-1, _ROUNDS):
                    before = _cpu_seconds(pid)
                    for target in (direct, through):
                        measured = await _round(client, target, body, concurrent, requests // _ROUNDS)
                        # The first round opens connections.
                        if number >= 0:
                            times[target.url] += measured
                    cpu += _cpu_seconds(pid) - before if number >= 0 else 0
                    if number % 2:
                        await asyncio.sleep(FRESH_SECONDS)
                count = len(times[through.url])
                figures = (_percentiles(times[direct.url]), _percentiles(times[through.url]))
                rows.append(Row(size, concurrent, count, *figures, cpu * 1000 / count))
    return rows


async def _round(
    client: httpx.AsyncClient, target: _Target, body: bytes, concurrent: int, requests: int
) -> list[float]:
    """Milliseconds to the first byte of each request."""
    times: list[float] = []

    async def work() -> None:
        for _ in range(requests // concurrent):
            began = time.perf_counter()
            async with client.stream("POST", target.url, content=body, headers=target.headers) as response:
                if response.status_code != _OK:
                    raise RuntimeError(f"{target.url} answered {response.status_code}: {await response.aread()!r}")
                first = 0.0
                async for _ in response.aiter_raw():
                    first = first or time.perf_counter() - began
            times.append(first * 1000)

    await asyncio.gather(*(work() for _ in range(concurrent)))
    return times


def _percentiles(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values)
    p50, p90, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.9, 0.99))
    return p50, p90, p99


def _body(length: int) -> bytes:
    line = "a line of code\n"
    return orjson.dumps(
        {
            "model": "claude-sonnet-5-5",
            "max_tokens": 100,
            "stream": True,
            "system": [{"type": "text", "text": "Work.", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": line * (length // (len(line) + 1))}],
        }
    )


@asynccontextmanager
async def _targets() -> AsyncIterator[tuple[_Target, _Target, int]]:
    """The API itself, the gateway in front of it, and the gateway's process id."""
    environment = lab_services()
    ca_file = environment.get("MONGO_TLS_CA_FILE")
    settings = MongoSettings(
        mongo_url=SecretStr(environment["MONGO_URL"]),
        mongo_database=f"bench_{secrets.token_hex(4)}",
        mongo_tls_ca_file=Path(ca_file) if ca_file else None,
    )
    key, token = f"sk-lab-{secrets.token_hex(20)}", f"sdlc-job-{secrets.token_urlsafe(32)}"
    api_port, gateway_port = _free_port(), _free_port()
    api = f"http://127.0.0.1:{api_port}"
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-gateway-")))
        client = await stack.enter_async_context(mongo.connect(settings, application="bench"))
        db = mongo.database(client, settings)
        stack.push_async_callback(client.drop_database, settings.mongo_database)
        await schema.migrate(db)
        await db["agent_jobs"].insert_one(_job(token))
        key_file = folder / "key"
        key_file.write_text(key, encoding="ascii")
        key_file.chmod(0o600)
        await stack.enter_async_context(
            _process(
                ("-m", "lab.services.claude", "--port", str(api_port), "--api-key-file", str(key_file)),
                {},
                folder / "api.log",
                api_port,
            )
        )
        pid = await stack.enter_async_context(
            _process(
                ("-c", "import sys; from sdlc_agents.commands.cli import main; main(sys.argv[1:])", "llm-gateway"),
                {
                    "PYTHONPATH": str(ROOT / "app" / "src"),
                    "MONGO_URL": settings.mongo_url.get_secret_value(),
                    "MONGO_DATABASE": settings.mongo_database,
                    **({"MONGO_TLS_CA_FILE": ca_file} if ca_file else {}),
                    "LLM_GATEWAY_PORT": str(gateway_port),
                    "METRICS_PORT": str(_free_port()),
                    "CLAUDE_API_URL": api,
                    "ANTHROPIC_API_KEY": key,
                },
                folder / "gateway.log",
                gateway_port,
            )
        )
        common = {"anthropic-version": "2023-06-01", "content-type": "application/json"}
        yield (
            _Target(f"{api}/v1/messages", {**common, "x-api-key": key}),
            _Target(f"http://127.0.0.1:{gateway_port}/v1/messages", {**common, "authorization": f"Bearer {token}"}),
            pid,
        )


def _job(token: str) -> dict[str, object]:
    return {
        "_id": secrets.token_hex(16),
        "token_sha256": digest(token),
        "development_id": secrets.token_hex(12),
        "project_key": "BENCH",
        "max_cost_usd": 1e6,
        "daily_budget_usd": 1e6,
        "monthly_budget_usd": 1e6,
        "expires_at": now() + timedelta(hours=1),
    }


@asynccontextmanager
async def _process(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, port: int
) -> AsyncIterator[int]:
    """Python as a process that listens on a port; its id. Ended when the block is left."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments),
            env={"PATH": os.environ["PATH"], **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"a server ended: {await asyncio.to_thread(log.read_text)}")
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| body | concurrent | requests | direct p50 / p90 / p99 ms | through the gateway | added | its CPU ms | bar |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        columns = (" / ".join(f"{value:.1f}" for value in part) for part in (row.direct, row.through, row.added))
        met = "met" if row.added[2] <= BAR_MS else "**missed**"
        figures = " | ".join([*columns, f"{row.cpu_ms:.1f}"])
        lines.append(f"| {row.size} | {row.concurrent} | {row.requests} | {figures} | {met} |")
    return "\n".join(lines)


def page(rows: Sequence[Row], load: float) -> str:
    """The document; `load` is what else the machine did before: the load average of one minute."""
    return f"""\
# What the LLM gateway adds

`cd app && ../.venv-app/bin/python -m benchmarks.gateway`, {datetime.now(UTC):%Y-%m-%d}, {machine()};
load average {load:.1f} before it began.

The bar: the gateway adds at most {BAR_MS:.0f} ms to the first byte (p99).

{table(rows)}

{_HOW}"""


async def _main() -> None:
    quick = bool(os.environ.get("BENCH_QUICK"))
    load = os.getloadavg()[0]
    rows = await measure_gateway(QUICK_REQUESTS if quick else REQUESTS)
    print(table(rows))
    if not quick:
        await asyncio.to_thread(PAGE.write_text, page(rows, load), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(_main())
