"""What runs do not take care of about their sessions' stacks: services in the status, the end of idle stacks."""

from __future__ import annotations

from datetime import UTC, datetime

from stromboli.models.agentsession import ServiceState
from stromboli.models.session import ServiceEntry, Session
from stromboli.node.stacks.stacks import Stacks
from stromboli.observe.policy import Policies
from stromboli.perform.notify import Notifier
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.stacks import told
from stromboli.plan import lifetime, services
from stromboli.status import session as session_status


class StackUpkeep:
    """Takes care of the stacks of this node's sessions."""

    def __init__(self, stacks: Stacks, policies: Policies, reporter: SessionReporter, notifier: Notifier) -> None:
        self._stacks = stacks
        self._policies = policies
        self._reporter = reporter
        self._notifier = notifier

    async def tend(self, session: Session) -> tuple[Session, float | None]:
        """The session, whose status has the services as they are; and the seconds until its stack has been idle for
        long enough, None if it is in use or there is none.

        Raises Conflict, Rejected, Refused, ClusterUnavailable, PodmanError, PodmanUnavailable.
        """
        stack = self._stacks.find(session.uid)
        if stack is None:
            return await self._left(session), None
        entries = told.entries(stack.seen)
        if entries and not stack.resting:  # else it is about to be started, or an earlier pass has begun to stop it
            known = {one.name: one for one in session.status.services}
            session = await self._written(session, told.completed(entries, known))
        used = session.status.last_used
        if session.status.current_run is not None or used is None:
            return session, None
        policy = await self._policies.effective(session.uid, session.namespace)
        idle = policy.compose.idle_ttl
        left = lifetime.idle_left(used, idle.value, datetime.now(UTC))
        if left > 0:
            return session, left
        stopped = told.stopped(session.status.services)

        async def unused() -> None:
            """By compare-and-swap: a run that has taken the session since it was read keeps its stack."""
            nonlocal session
            session = await self._written(session, stopped)

        if await self._stacks.stop(session.uid, unused):
            notice = services.stopped(idle)
            self._notifier.emit(session, notice.reason, notice.message, key=used.isoformat())
        return session, None

    async def _left(self, session: Session) -> Session:
        """The session whose stack nobody looks after. If its status says that services run, an operator before this one
        did: what still runs is looked after from now on, and if nothing does, the node was restarted meanwhile.
        """
        entries = session.status.services
        if all(one.state is ServiceState.stopped for one in entries):
            return session
        await self._stacks.adopt(session.uid)
        if self._stacks.find(session.uid) is None:
            session = await self._written(session, told.stopped(entries))
        return session

    async def _written(self, session: Session, entries: tuple[ServiceEntry, ...]) -> Session:
        return await self._reporter.write(session, session_status.with_services(session.status, entries))
