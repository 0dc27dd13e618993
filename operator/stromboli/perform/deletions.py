"""A run or a session was deleted: nothing of it stays, here or in sessions that outlive it."""

from __future__ import annotations

from stromboli.node.cleanup import Cleaner
from stromboli.observe.session_index import SessionIndex
from stromboli.perform.sessions.assembly import Parts


class Deletions:
    """Removes what deleted objects have left on this node."""

    def __init__(self, cleaner: Cleaner, index: SessionIndex, sessions: Parts) -> None:
        self._cleaner = cleaner
        self._index = index
        self._sessions = sessions

    async def gone(self, uid: str) -> None:
        """Remove what the object of this UID has. Raises ClusterUnavailable, PodmanError, PodmanUnavailable, OSError.

        Jobs that are under way for it are broken off. If it was a run, what it has going in sessions is ended, and its
        attempts are removed from them.
        """
        copied = await self._sessions.forks.break_off(uid)
        await self._sessions.sizes.forget(uid)
        await self._cleaner.deleted(uid)
        for session_uid in (await self._cleaner.sessions_of(uid) | copied) - {uid}:
            if (session := await self._index.find(session_uid)) is not None:
                await self._sessions.turns.vacate(session, uid)
                await self._cleaner.without_attempts(session_uid, uid)
        self._index.remove(uid)
        await self._sessions.sizes.forget(uid)  # again: a run may have left the session meanwhile
