"""A bound on what is in memory at once: whoever needs more than is free waits until others are through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """So many bytes, given out in the order in which they were asked for."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Take so much for the block; more than there is at all counts as all of it."""
        size = min(size, self._size)
        async with self._door:
            while self._free < size:
                self._changed.clear()
                await self._changed.wait()
            self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._changed.set()
