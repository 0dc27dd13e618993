"""Coalesces concurrent reads of the same key into one call. Nothing is cached.

Each caller gets an answer as fresh as that of a call of its own: from a call that began after the caller had asked. So
a caller that asks during a call does not get that call's answer, but shares the next call with all others that have
asked meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Coalesced(Generic[K, T]):
    """One kind of read, by key. All callers get the same object, so it must not be changed."""

    def __init__(self, read: Callable[[K], Awaitable[T]]) -> None:
        self._read = read
        self._under_way: dict[K, asyncio.Future[None]] = {}
        self._next: dict[K, asyncio.Task[T]] = {}

    async def get(self, key: K) -> T:
        """The answer for a key, or the exception that the read raised. Cancelling it does not affect other callers."""
        if key in self._next:
            return await asyncio.shield(self._next[key])
        if key not in self._under_way:
            return await self._call(key)
        task = self._next[key] = asyncio.create_task(self._after(key, self._under_way[key]))
        task.add_done_callback(_retrieved)
        return await asyncio.shield(task)

    async def _after(self, key: K, over: asyncio.Future[None]) -> T:
        try:
            await asyncio.shield(over)  # others may need it
        finally:
            del self._next[key]
        return await self._call(key)

    async def _call(self, key: K) -> T:
        over = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._read(key)
        finally:
            del self._under_way[key]
            over.set_result(None)


def _retrieved(task: asyncio.Task[T]) -> None:
    """An exception counts as retrieved even if every caller was cancelled meanwhile."""
    if not task.cancelled():
        task.exception()
