"""Polling with a timeout, for states that no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable

AGAIN = 0.05


def eventually(check: Callable[[], bool], what: str, seen: Callable[[], object], within: float = 20.0) -> None:
    """Return once `check()` is true; after `within` seconds fail with `what` and the value of `seen()`."""
    limit = time.monotonic() + within
    while not check():
        assert time.monotonic() < limit, f"{what}: not after {within:.0f} s; now {seen()}"
        time.sleep(AGAIN)
