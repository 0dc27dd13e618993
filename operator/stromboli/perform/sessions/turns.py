"""Taking a session's turn and leaving it.

The turn is `status.currentRun`, taken by compare-and-swap on the object's version: the first writer gets it. It is
released only once Podman confirms that the session's container does not run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stromboli import naming
from stromboli.errors import Conflict, LocalFailure, PodmanError, PodmanUnavailable, StromboliError
from stromboli.kube.client import Cluster
from stromboli.models.run import Run
from stromboli.models.session import RunRef, Session, SessionStatus
from stromboli.perform.sessions.onnode import OnNode
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.sessions.sizes import Sizes
from stromboli.status import session as session_status

TRIES = 4  # to give a turn back while others write to the session

log = logging.getLogger(__name__)


class Turns:
    """The turns in the sessions of this node.

    Giving a turn back changes the session, whose event wakes the next run. Where there is nothing to give back, or that
    fails, `wake_next` is called with the session's namespace and name.
    """

    def __init__(
        self,
        cluster: Cluster,
        on_node: OnNode,
        reporter: SessionReporter,
        sizes: Sizes,
        wake_next: Callable[[str, str], None],
    ) -> None:
        self._cluster = cluster
        self._resting = on_node.resting
        self._locks = on_node.locks
        self._reporter = reporter
        self._sizes = sizes
        self._wake_next = wake_next

    async def take(self, session: Session, run: Run, image_id: str) -> Session:
        """The run takes the turn, to run in the image of this id. May be repeated.

        Raises Conflict if another run was quicker, Rejected, ClusterUnavailable.
        """
        if session.status.is_held_by(run.uid) and session.status.conversation:
            return session
        ref, conversation = RunRef(run.name, run.uid), naming.conversation(session.uid)
        moment = self._reporter.moment(session)
        new = session_status.begun(session.status, ref, conversation, image_id, moment)
        return await self._reporter.write(session, new)

    async def still(self, session: Session, run: Run) -> Session:
        """The session as it is now, which the run must still hold. Raises Conflict, ClusterUnavailable."""
        found = await self._cluster.session_outline(session.namespace, session.name)
        if found is None or found.uid != session.uid or found.is_being_deleted:
            raise Conflict(f"the session {session.name} was deleted meanwhile")
        if not found.status.is_held_by(run.uid):
            raise Conflict(f"the run no longer holds the session {session.name}")
        return found

    async def leave(self, run: Run) -> None:
        """A run has ended: its session is free for the next. Raises as `vacate`: then upkeep does it."""
        failure: StromboliError | None = None
        for name in run.sessions:
            left = False
            try:
                left = await self._left(run, name)
            except (PodmanError, PodmanUnavailable) as error:  # that must not delay the other one
                failure = error
            finally:
                if not left:
                    self._wake_next(run.namespace, name)
        if failure is not None:
            raise failure

    async def vacate(self, session: Session, run_uid: str) -> None:
        """The run that holds the session no longer needs it: end the container, then give the turn back.

        In this order, and under the session's lock: no other run takes the session before the status is written. Has
        no effect if that run does not hold the session any more. If the container may still be running, the turn is
        kept, PodmanError or PodmanUnavailable is raised, and the session's condition says so: the caller tries again.
        Other failures of Podman do not matter: the next run in the session cleans up. Raises ClusterUnavailable.
        """
        await self._vacated(session.namespace, session.name, session.uid, run_uid)

    async def _left(self, run: Run, name: str) -> bool:
        """Whether the run held that session, which is vacated then. Its UID is in the run's status after a start."""
        entry = run.status.session
        if entry is not None and entry.name == name and entry.uid:
            return await self._vacated(run.namespace, name, entry.uid, run.uid)
        session = await self._cluster.session_outline(run.namespace, name)
        if session is None or not session.status.is_held_by(run.uid):
            return False
        return await self._vacated(run.namespace, name, session.uid, run.uid)

    async def _vacated(self, namespace: str, name: str, uid: str, run_uid: str) -> bool:
        async with self._locks.hold(uid):
            found = await self._cluster.session_outline(namespace, name)
            if found is None or found.uid != uid or not found.status.is_held_by(run_uid):
                return False
            await self._end(found)
            await self.release(found)
            return True

    async def end(self, uid: str) -> None:
        """Ensure that a session's container is not running, nor initialized for a start. Raises PodmanError,
        PodmanUnavailable if it may be.
        """
        async with self._locks.hold(uid):
            await self._resting.undone(uid)

    async def release(self, session: Session) -> None:
        """Give back the turn of a session whose container has ended. The caller holds the session's lock.

        If somebody changes the session meanwhile, it is read again: whoever holds it may be at work for long. Raises
        ClusterUnavailable.
        """
        for _ in range(TRIES):
            new = session_status.released(await self._settled(session), self._reporter.moment(session))
            try:
                await self._reporter.write(session, new)
                return
            except Conflict:
                log.info("session %s has changed meanwhile", session.name)
            found = await self._cluster.session_outline(session.namespace, session.name)
            if found is None or found.uid != session.uid or found.status.current_run != session.status.current_run:
                return
            session = found

    async def _settled(self, session: Session) -> SessionStatus:
        """The session's status with what is known about its container, which has ended."""
        self._sizes.outdated(session.uid)
        try:
            kept = await self._resting.rest(session.uid)
        except (PodmanError, PodmanUnavailable, LocalFailure, OSError) as error:
            log.warning("the state of the container of session %s will be checked later: %s", session.name, error)
            return session.status
        if kept is None:
            return session_status.without_container(session.status)
        return session_status.with_container(session.status, kept.container, kept.hooks, kept.at)

    async def _end(self, session: Session) -> None:
        """Ensure that the session's container is not running, or write to the status that it may be."""
        try:
            await self._resting.ended(session.uid)
        except (PodmanError, PodmanUnavailable) as error:
            current = session.status.current_run
            message = f"the run {current.name if current else ''} is over, but its container may still run: {error}"
            message = f"{message}; tried again soon"
            try:
                new = session_status.leaving(session.status, message, self._reporter.moment(session))
                await self._reporter.write(session, new)
            except Conflict:
                log.info("session %s has changed meanwhile", session.name)
            raise
