"""The one writer of sessions' statuses: written only if they changed, guarded by the object's version."""

from __future__ import annotations

from stromboli.kube.client import Cluster
from stromboli.models.session import Session, SessionStatus
from stromboli.observe import sessions
from stromboli.reasons import ReadyReason
from stromboli.status import session as session_status
from stromboli.status.run import Moment


class SessionReporter:
    """Writes the statuses of this node's sessions; `node` is its name."""

    def __init__(self, cluster: Cluster, node: str) -> None:
        self._cluster = cluster
        self.node = node

    def moment(self, session: Session) -> Moment:
        """Now, for this session."""
        return sessions.moment(session, self.node)

    async def at(self, session: Session, reason: ReadyReason, message: str) -> Session:
        """Write that the session is now at `reason`. Raises as `write`."""
        return await self.write(session, session_status.at(session.status, reason, message, self.moment(session)))

    async def write(self, session: Session, new: SessionStatus) -> Session:
        """Write the status if it changed; returns the new session. Raises Conflict, Rejected, ClusterUnavailable."""
        return session if new == session.status else await self._cluster.write_status(session, new)
