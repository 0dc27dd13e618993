"""Cleans up after a deleted run or session, on this node and in sessions that outlive it."""

from __future__ import annotations

from stromboli.models.session import Session
from stromboli.node.cleanup import Cleaner
from stromboli.observe.index import Index
from stromboli.perform.sessions.assembly import Parts
from stromboli.perform.stacks.starts import StackStarts


class Deletions:
    """Removes what deleted objects leave on this node."""

    def __init__(self, cleaner: Cleaner, index: Index[Session], sessions: Parts, stacks: StackStarts) -> None:
        self._cleaner = cleaner
        self._index = index
        self._sessions = sessions
        self._stacks = stacks

    async def gone(self, uid: str) -> None:
        """Remove everything of this UID's object. Raises ClusterUnavailable, PodmanError, PodmanUnavailable, OSError.

        Its jobs are canceled. If it was a run, its attempts in sessions are ended and removed.
        """
        copied = await self._sessions.forks.break_off(uid)
        await self._stacks.forget(uid)
        await self._sessions.sizes.forget(uid)
        await self._cleaner.deleted(uid)
        for session_uid in (await self._cleaner.sessions_of(uid) | copied) - {uid}:
            if (session := await self._index.find(session_uid)) is not None:
                await self._sessions.turns.vacate(session, uid)
                await self._cleaner.without_attempts(session_uid, uid)
        self._index.remove(uid)
        await self._stacks.forget(uid)  # again: the sweep may have found it running in the meantime
        await self._sessions.sizes.forget(uid)  # again: the run may have left the session in the meantime
