"""The consumers' cache of repositories on this host: one partial repository for each clone address.

Two locks (flock(2)) beside each let several consumers share it; the kernel frees those of a process that dies. Whoever
changes one holds `.write`; whoever reads one holds `.use` with others, for the whole run, and only who holds `.use`
alone may remove it. git puts objects in place whole and removes none here, so a run never sees half of anything. What
breaks all the same is removed and made anew; where that does not work either, the run goes without.

Which tokens may read what is not asked here: the caller has just had the forge list the branches, with its own.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from sdlc_agents.git.command import GitError

_WAIT_SECONDS = 120.0
_ASK_AGAIN_SECONDS = 0.1
_PACKS = 60
"""Each fetch leaves one or two, and what nobody refers to any more stays in them: with more, a mirror is made anew."""
_REMOVED = ".removed"

log = structlog.get_logger()


class MirrorMetrics:
    """What the mirrors save, and take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.uses = Counter(
            "sdlc_agent_mirror_uses_total", "Runs by what the mirror was to them", ["result"], registry=registry
        )
        self.size = Gauge("sdlc_agent_mirror_bytes", "Size of all mirrors on this host", registry=registry)


class Mirror:
    """One that is in use until it is closed."""

    def __init__(self, directory: Path, lock: int) -> None:
        self.directory = directory
        self._lock = lock

    def close(self) -> None:
        """Let others remove it."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def discard(self) -> bool:
        """Remove it, unless others use it too; whether it is gone. It stays in use, unless another is removing it."""
        gone = _take(self._lock, fcntl.LOCK_EX) and _remove(self.directory)
        # flock(2): who asks for another kind of lock loses the one held, also when the other is refused.
        _take(self._lock, fcntl.LOCK_SH)
        return gone


class Mirrors:
    """All mirrors below a directory, which other consumers of this host may share.

    Together they are kept within `max_bytes`: the least recently used go first, and none goes that is in use, so one
    that is larger by itself stays until another is used.
    """

    def __init__(
        self, directory: Path, max_bytes: int, metrics: MirrorMetrics, *, wait_seconds: float = _WAIT_SECONDS
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._wait_seconds = wait_seconds

    async def use(self, url: str, fill: Callable[[Path], Awaitable[None]]) -> Mirror | None:
        """The mirror of this clone address, brought up to date by `fill`; to be closed when the run ends.

        `fill` gets its directory, which is not there when the mirror is new, and is alone with it. None when there is
        none to be had: it is busy for long, broken and in use, or its disk is full. `RunFailedError` goes through.
        """
        directory = self._directory / hashlib.sha256(url.encode()).hexdigest()[:32]
        try:
            await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
            async with self._locked(directory.with_suffix(".write")):
                mirror, known = await self._fill(directory, fill)
        except (GitError, OSError, TimeoutError) as error:
            self._metrics.uses.labels("bypass").inc()
            log.warning("mirror_unusable", url=url, error=str(error) or "it is busy")
            return None
        await self._make_room(mirror)
        self._metrics.uses.labels("hit" if known else "miss").inc()
        return mirror

    async def _fill(self, directory: Path, fill: Callable[[Path], Awaitable[None]]) -> tuple[Mirror, bool]:
        use = directory.with_suffix(".use")
        lock = _open(use)
        mirror = Mirror(directory, lock)
        try:
            await self._wait_for(lock, fcntl.LOCK_SH)
            os.utime(use)
            if _packs(directory) > _PACKS:
                mirror.discard()
                await self._wait_for(lock, fcntl.LOCK_SH)
            known = _packs(directory) > 0
            try:
                await fill(directory)
            except (GitError, OSError) as error:
                log.warning("mirror_broken", directory=str(directory), error=str(error))
                if not mirror.discard() or not known:
                    raise
                known = False
                await self._wait_for(lock, fcntl.LOCK_SH)
                await fill(directory)
        except BaseException:
            mirror.close()
            raise
        return mirror, known

    @asynccontextmanager
    async def _locked(self, path: Path) -> AsyncIterator[None]:
        lock = _open(path)
        try:
            await self._wait_for(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    async def _wait_for(self, lock: int, kind: int) -> None:
        deadline = time.monotonic() + self._wait_seconds
        while not _take(lock, kind):
            if time.monotonic() > deadline:
                raise TimeoutError
            await asyncio.sleep(_ASK_AGAIN_SECONDS)

    async def _make_room(self, mirror: Mirror) -> None:
        """Evict others; `mirror`, which nobody else knows of yet, is closed when this is cancelled."""
        try:
            await asyncio.to_thread(self._evict)
        except OSError as error:
            log.warning("mirror_eviction_failed", error=str(error))
        except BaseException:
            mirror.close()
            raise

    def _evict(self) -> None:
        for left in self._directory.glob(f"*{_REMOVED}"):
            shutil.rmtree(left, ignore_errors=True)
        sizes = {use: _size(use.with_suffix("")) for use in self._directory.glob("*.use")}
        for use in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if sum(sizes.values()) <= self._max_bytes:
                break
            with closing(Mirror(use.with_suffix(""), _open(use))) as mirror:
                if sizes[use] and mirror.discard():
                    log.info("mirror_evicted", directory=str(mirror.directory), bytes=sizes[use])
                    sizes[use] = 0
        self._metrics.size.set(sum(sizes.values()))


def _take(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(directory: Path) -> bool:
    # Gone at once: who is killed in the middle leaves no half of a mirror.
    gone = directory.with_name(uuid.uuid4().hex + _REMOVED)
    with suppress(FileNotFoundError):
        directory.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _packs(directory: Path) -> int:
    return sum(1 for _ in directory.glob("objects/pack/*.pack"))


def _size(directory: Path) -> int:
    total = 0
    # Not by Path.rglob, which fails when another consumer removes the directory meanwhile.
    for place, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(place, name).lstat().st_size
    return total
