"""Measures the disk usage of sessions: once after each run, by a job, since all of a session's files are visited.

A session whose size is unknown, because the operator was restarted in between, is measured too.
"""

from __future__ import annotations

import logging

from stromboli.errors import LocalFailure, PodmanError, PodmanUnavailable, StromboliError
from stromboli.models.session import Session
from stromboli.node.jobs import Jobs
from stromboli.node.resting import Resting
from stromboli.perform.sessions.report import SessionReporter
from stromboli.status import session as session_status

log = logging.getLogger(__name__)


class Sizes:
    """The sizes of this node's sessions."""

    def __init__(self, resting: Resting, reporter: SessionReporter, jobs: Jobs[str, int | None]) -> None:
        self._resting = resting
        self._reporter = reporter
        self._jobs = jobs  # by the UID of the session, which is what they wake
        self._outdated: set[str] = set()
        self._tried: set[str] = set()

    def outdated(self, uid: str) -> None:
        """A run has used the session: its size has to be measured again."""
        self._outdated.add(uid)

    async def forget(self, uid: str) -> None:
        """The session was deleted."""
        self._outdated.discard(uid)
        self._tried.discard(uid)
        await self._jobs.break_off(uid)

    async def measure(self, session: Session) -> bool:
        """Write a session's size to its status if a measurement has ended, and start a measurement if one is due.

        Returns whether the status was written. Raises ClusterUnavailable, Conflict.
        """
        changed = await self._noted(session)
        if self._jobs.find(session.uid) is None and self._is_due(session):
            self._outdated.discard(session.uid)
            self._tried.add(session.uid)
            self._jobs.start(session.uid, lambda _: self._size(session)).waiting.add(session.uid)
        return changed

    def _is_due(self, session: Session) -> bool:
        unknown = session.status.size is None and session.status.last_used is not None
        return session.uid in self._outdated or (unknown and session.uid not in self._tried)

    async def _noted(self, session: Session) -> bool:
        """Write the result of a measurement that has ended; whether the status was written."""
        job = self._jobs.find(session.uid)
        if job is None or not job.is_over:
            return False
        self._jobs.drop(session.uid)
        size = job.result()
        if size is None or size == session.status.size:
            return False
        try:
            await self._reporter.write(session, session_status.measured(session.status, size))
        except StromboliError:
            self._outdated.add(session.uid)
            raise
        return True

    async def _size(self, session: Session) -> int | None:
        """In bytes; None if it cannot be determined now."""
        try:
            return await self._resting.size(session.uid, session.status.image)
        except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
            log.warning("the disk usage of session %s cannot be determined: %s", session.name, error)
            return None
