"""A forge's last answers, so that it need only say that one has not changed. GitHub counts no such request.

https://docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#use-conditional-requests-if-appropriate
"""

import zlib
from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class CachedAnswer:
    """One answer, and the tag (ETag) by which the forge knows it again."""

    tag: str
    packed: bytes

    @property
    def content(self) -> bytes:
        """The answer as it came."""
        return zlib.decompress(self.packed)


class HttpCache:
    """Keeps so many bytes of answers at most. Those that were not asked for longest go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, CachedAnswer] = OrderedDict()

    def get(self, key: str) -> CachedAnswer | None:
        """The answer to what `key` stands for."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: str, tag: str, content: bytes) -> None:
        """Keep this answer in the place of the one before."""
        before = self._kept.pop(key, None)
        kept = CachedAnswer(tag, zlib.compress(content))
        self._bytes += len(kept.packed) - (len(before.packed) if before else 0)
        self._kept[key] = kept
        while self._bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.packed)
