"""Which session a UID belongs to: the object's name, as the watch has said it or a list does."""

from __future__ import annotations

from stromboli.models.objects import Object
from stromboli.models.session import Session
from stromboli.observe.reads import ClusterReads


class SessionIndex:
    """The sessions of the cluster, by UID."""

    def __init__(self, cluster: ClusterReads) -> None:
        self._cluster = cluster
        self._names: dict[str, tuple[str, str]] = {}

    def add(self, session: Object) -> str:
        """This session exists; its UID."""
        self._names[session.uid] = (session.namespace, session.name)
        return session.uid

    def remove(self, uid: str) -> None:
        """There is no such session any more."""
        self._names.pop(uid, None)

    async def find(self, uid: str) -> Session | None:
        """The session as it is now; None if there is none any more. Raises ClusterUnavailable."""
        if uid not in self._names:  # its event has not come yet
            async for session in self._cluster.sessions():
                self.add(session)
        found = await self._cluster.session_outline(*self._names[uid]) if uid in self._names else None
        if found is None or found.uid != uid:
            self.remove(uid)
            return None
        return found
