"""Waiting for what no event tells: looked at again and again, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

AGAIN = 0.05


def eventually(check: Callable[[], bool], what: str, seen: Callable[[], object], within: float = 20.0) -> None:
    """Return once `check()`; after `within` seconds fail with `what` was waited for and what is `seen` instead."""
    limit = time.monotonic() + within
    while not check():
        assert time.monotonic() < limit, f"{what}: not after {within:.0f} s; now {seen()}"
        time.sleep(AGAIN)
