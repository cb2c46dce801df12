"""What the lab says while it works, and how it says that a step failed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class LabError(Exception):
    """A step failed.

    Args:
        message: What went wrong, with the step's name.
        hint: What the reader can do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def say(message: str) -> None:
    """Print one line of progress. Standard output is left to results, such as environment lines."""
    print(f"lab: {message}", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a slow step, and say how long it took."""
    say(f"{title} …")
    started = time.monotonic()
    yield
    say(f"{title}: done in {time.monotonic() - started:.0f} s")
