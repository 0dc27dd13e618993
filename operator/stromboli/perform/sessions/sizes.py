"""How much disk a session takes: measured once after each run in it."""

from __future__ import annotations

import logging

from stromboli.errors import LocalFailure, PodmanError, PodmanUnavailable
from stromboli.models.session import Session
from stromboli.node.resting import Resting
from stromboli.perform.sessions.report import SessionReporter
from stromboli.status import session as states

log = logging.getLogger(__name__)


class Sizes:
    """The sizes of this node's sessions."""

    def __init__(self, resting: Resting, reporter: SessionReporter) -> None:
        self._resting = resting
        self._reporter = reporter
        self._outdated: set[str] = set()

    def outdated(self, uid: str) -> None:
        """A run was in the session: it is to be measured."""
        self._outdated.add(uid)

    def forget(self, uid: str) -> None:
        """There is no such session any more."""
        self._outdated.discard(uid)

    async def measure(self, session: Session) -> bool:
        """Measure a session if that is due; whether its status was written. Raises ClusterUnavailable, Conflict."""
        if session.uid not in self._outdated:
            return False
        size = await self._size(session)
        changed = size is not None and size != session.status.size
        if size is not None and changed:
            await self._reporter.write(session, states.measured(session.status, size))
        self._outdated.discard(session.uid)
        return changed

    async def _size(self, session: Session) -> int | None:
        """In bytes; None if that cannot be found out now."""
        try:
            return await self._resting.size(session.uid, session.status.image)
        except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
            log.warning("session %s: how much disk it takes is not known: %s", session.name, error)
            return None
