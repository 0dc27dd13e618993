"""One at a time for what touches one session's things on the node: its container, its volume, its folders.

Its runs, its own object and the sweep are served by different tasks. Whoever starts, copies, stops or removes something
of a session holds it meanwhile, and looks again whether run and session are still there once it does.
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
    """By the UID of a session, or of a run that has its own; `len` is how many are held or waited for."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def hold(self, *uids: str) -> AsyncIterator[None]:
        """Have these to oneself inside the block. Nobody may ask for more while holding some."""
        async with AsyncExitStack() as stack:
            for uid in sorted(set(uids)):  # in one order, so that no two wait for each other
                await stack.enter_async_context(self._one(uid))
            yield

    def check(self, uid: str) -> None:
        """For those who leave it to their caller to hold a session: that somebody does."""
        assert uid in self._entries, f"nobody holds the session {uid}"

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
