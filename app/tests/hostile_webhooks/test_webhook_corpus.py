"""Ten thousand payloads that no Jira sends, signed as if one did."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import httpx
import orjson
import pytest

from sdlc_agents.kernel.mongo import Database
from sdlc_agents.webhooks.signature import sign
from support.deliveries import FIXTURES
from support.mutations import DEEP, corpus, nested
from support.webhook_process import WebhookProcess
from support.webhook_service import SECRET

SEED = 20_261_123
COUNT = 10_000
WARM_UP = 1_000
AT_ONCE = 16
GROWTH_MEGABYTES = 60
WORKER_MEGABYTES = 150
WRONG_SECRET = b"what somebody guessed"


async def _post(service: WebhookProcess, body: bytes, secret: bytes = SECRET) -> httpx.Response:
    return await service.http.post("/webhook", content=body, headers={"X-Hub-Signature": sign(body, secret)})


async def _post_all(service: WebhookProcess, bodies: Iterator[bytes]) -> Counter[str]:
    """Post them, some at a time; how often each answer came, by status and what the body says."""
    answers: Counter[str] = Counter()

    async def work() -> None:
        for body in bodies:
            response = await _post(service, body)
            told = response.json()
            assert ("error" in told) == (response.status_code != httpx.codes.OK), f"{response.status_code}: {told}"
            answers[f"{response.status_code} {told.get('status', '')}".strip()] += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return answers


@pytest.mark.timeout(300)
async def test_ten_thousand_mutated_payloads_cost_neither_an_error_of_ours_nor_memory_nor_a_secret(
    webhook: WebhookProcess, db: Database
) -> None:
    bases = [path.read_bytes() for path in sorted(FIXTURES.rglob("*.json"))]
    bodies = corpus(SEED, COUNT, bases)
    answers = await _post_all(webhook, (next(bodies) for _ in range(WARM_UP)))
    warm = webhook.process.resident_megabytes()
    answers += await _post_all(webhook, bodies)
    grown = webhook.process.resident_megabytes()
    print(f"seed {SEED}: {dict(answers)}, resident {warm:.0f} → {grown:.0f} MiB")

    assert answers.total() == COUNT
    assert set(answers) <= {"200 accepted", "200 ignored", "200 duplicate", "400", "413"}
    assert min(answers["200 accepted"], answers["200 ignored"], answers["400"]) > COUNT // 50, "a one-sided corpus"
    assert grown < WORKER_MEGABYTES
    assert grown - warm < GROWTH_MEGABYTES
    assert await db["webhook_events"].count_documents({}) == answers["200 accepted"]
    _check_log(webhook)


def _check_log(service: WebhookProcess) -> None:
    text = service.process.log.read_text()
    assert SECRET.decode() not in text
    assert "sha256=" not in text
    for line in text.splitlines():
        entry = orjson.loads(line)
        assert entry["level"] in {"info", "warning"}, entry
        assert len(line) < 4_096, f"a log line carries a payload: {line[:200]}"


async def test_what_nobody_signed_is_not_even_parsed(webhook: WebhookProcess, db: Database) -> None:
    bases = [path.read_bytes() for path in sorted(FIXTURES.rglob("*.json"))]
    for body in corpus(SEED, 200, bases):
        assert (await _post(webhook, body, WRONG_SECRET)).status_code in {401, 413}
    assert await db["webhook_events"].count_documents({}) == 0


@pytest.mark.parametrize("depth", [1_000, DEEP, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
async def test_a_document_of_a_thousand_levels_is_refused_in_words(
    webhook: WebhookProcess, depth: int, opening: bytes, closing: bytes
) -> None:
    response = await _post(webhook, nested(depth, opening, closing))
    assert response.status_code == httpx.codes.BAD_REQUEST
    assert response.json()["error"]
