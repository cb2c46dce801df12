"""How far a run is."""

import time

STARTED = time.monotonic()


def say(text: str) -> None:
    """Tell it."""
    print(f"[bench {time.monotonic() - STARTED:4.0f}s] {text}", flush=True)
