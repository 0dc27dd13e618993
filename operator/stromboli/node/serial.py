"""Locks per session, for whatever changes its container, volume or folders on the node.

A session's runs, its own object and the sweep are handled by different tasks. A task that starts, copies, stops or
removes something of a session must hold its lock, and check again, once it does, that run and session still exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class SessionLocks:
    """Locks by the UID of a session, or of a run without a named one; `len` is the number held or waited for."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def hold(self, *uids: str) -> AsyncIterator[None]:
        """Hold the locks of these UIDs inside the block. Must not be nested."""
        async with AsyncExitStack() as stack:
            for uid in sorted(set(uids)):  # in a fixed order, to avoid deadlock
                await stack.enter_async_context(self._one(uid))
            yield

    def check(self, uid: str) -> None:
        """Assert that someone holds the session's lock, in functions whose caller must hold it."""
        assert uid in self._entries, f"the lock of the session {uid} is not held"

    @asynccontextmanager
    async def _one(self, uid: str) -> AsyncIterator[None]:
        entry = self._entries.setdefault(uid, _Entry())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if entry.users == 0:
                del self._entries[uid]
