"""Finds sessions by UID: their names are known from the watch or a list."""

from __future__ import annotations

from stromboli.models.objects import Object
from stromboli.models.session import Session
from stromboli.observe.reads import ClusterReads


class SessionIndex:
    """The names of the cluster's sessions, by UID."""

    def __init__(self, cluster: ClusterReads) -> None:
        self._cluster = cluster
        self._names: dict[str, tuple[str, str]] = {}

    def add(self, session: Object) -> str:
        """Record a session; returns its UID."""
        self._names[session.uid] = (session.namespace, session.name)
        return session.uid

    def remove(self, uid: str) -> None:
        """Forget a session that no longer exists."""
        self._names.pop(uid, None)

    async def find(self, uid: str) -> Session | None:
        """The session as it is now; None if it no longer exists. Raises ClusterUnavailable."""
        if uid not in self._names:  # its event has not arrived yet
            async for session in self._cluster.sessions():
                self.add(session)
        found = await self._cluster.session_outline(*self._names[uid]) if uid in self._names else None
        if found is None or found.uid != uid:
            self.remove(uid)
            return None
        return found
