"""How the parts are that calls need. What was found counts for a while, and is asked for once at a time: whoever can
reach the port may ask, and nobody can load the cluster by asking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

KEPT = 2.0  # seconds

# What is wrong with a part, as a sentence; empty if nothing is.
Check = Callable[[], Awaitable[str]]


class Health:
    """The parts by name."""

    def __init__(self, checks: Mapping[str, Check], clock: Callable[[], float] = time.monotonic) -> None:
        self._checks = checks
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: Mapping[str, str] = {}
        self._until = float("-inf")

    async def problems(self) -> Mapping[str, str]:
        """What is wrong with each part."""
        async with self._lock:
            if self._clock() >= self._until:
                found = await asyncio.gather(*(check() for check in self._checks.values()))
                self._found = dict(zip(self._checks, found, strict=True))
                self._until = self._clock() + KEPT
            return self._found
