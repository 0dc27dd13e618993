"""How many notifications are sent at a time, so that receivers that are slow hold up only their own.

A receiver has a few places, the receivers of a namespace a few more together, and all of them as many as there are. Who
waits for a place of all has those of its receiver and its namespace, so that each namespace has a few in that queue,
and each of its receivers fewer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

RECEIVER, NAMESPACE, ALL = 2, 4, 32


class Lanes:
    """The places."""

    def __init__(self, receiver: int = RECEIVER, namespace: int = NAMESPACE, all_: int = ALL) -> None:
        self._receiver, self._namespace = receiver, namespace
        self._all = asyncio.Semaphore(all_)
        self._some: dict[tuple[str, ...], asyncio.Semaphore] = {}
        self._users: dict[tuple[str, ...], int] = {}

    def __len__(self) -> int:
        return len(self._some)

    @asynccontextmanager
    async def taken(self, namespace: str, receiver: str) -> AsyncIterator[None]:
        """A place for a notification to that receiver, inside the block."""
        async with (
            self._of((namespace, receiver), self._receiver),
            self._of((namespace,), self._namespace),
            self._all,
        ):
            yield

    @asynccontextmanager
    async def _of(self, key: tuple[str, ...], most: int) -> AsyncIterator[None]:
        """A place of those with that key, which are forgotten once nobody has or wants one."""
        semaphore = self._some.setdefault(key, asyncio.Semaphore(most))
        self._users[key] = self._users.get(key, 0) + 1
        try:
            async with semaphore:
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._some[key]
