"""So many answers of one kind at a time, and so many requests that wait for theirs.

A request that waits has a connection, of which there are not many, and whoever asks a lot would have all of them.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from stromboli.api.errors import Declined

# Of each kind: with those that are answered, and the logs that are followed, they are fewer than there are connections.
WAITING = 8


class Line:
    """As a semaphore, but that entering raises Declined if too many wait already."""

    def __init__(self, at_once: int) -> None:
        self._room = asyncio.Semaphore(at_once)
        self._waiting = 0

    async def acquire(self) -> None:
        if self._waiting >= WAITING:
            raise Declined(503, f"{WAITING} others wait for their turn on this node already; try again")
        self._waiting += 1
        try:
            await self._room.acquire()
        finally:
            self._waiting -= 1

    def release(self) -> None:
        self._room.release()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
