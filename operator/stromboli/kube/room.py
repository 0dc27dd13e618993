"""A bound on memory in use: a task that needs more than is free waits until others have finished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """A number of bytes, handed out in the order of the requests."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Take that many bytes for the block; a request for more than the total takes the total."""
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
