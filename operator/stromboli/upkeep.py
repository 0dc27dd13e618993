"""One reconcile pass of one session, for what its runs do not take care of: its condition, a turn that was never
released, a copy that was never completed, its size, its time to live, its stack.

What a deleted session leaves on the node is removed like everything without an owner (reconcile.py, sweep.py).
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from stromboli.errors import Conflict, Refused, Rejected
from stromboli.kube.client import Cluster
from stromboli.models.session import RunRef, Session
from stromboli.observe.index import Index
from stromboli.perform.sessions.assembly import Parts
from stromboli.perform.sessions.report import SessionReporter
from stromboli.perform.stacks.upkeep import StackUpkeep
from stromboli.plan import lifetime
from stromboli.reasons import ReadyReason
from stromboli.store import Store

log = logging.getLogger(__name__)


class Upkeep:
    """Takes care of the sessions of this node."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        index: Index[Session],
        sessions: Parts,
        stacks: StackUpkeep,
        reporter: SessionReporter,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._index = index
        self._turns = sessions.turns
        self._forks = sessions.forks
        self._sizes = sessions.sizes
        self._stacks = stacks
        self._reporter = reporter

    async def reconcile(self, uid: str) -> float | None:
        """One pass; seconds until the next, None for "when something happens".

        Raises ClusterUnavailable, PodmanError, PodmanUnavailable: then it has to be retried.
        """
        session = await self._index.find(uid)
        if session is None:
            await self._sizes.forget(uid)
            return None
        if session.is_being_deleted or session.status.node not in ("", self._reporter.node):
            return None
        try:
            return await self._step(session)
        except Conflict:
            return 0.0
        except (Refused, Rejected) as error:  # the runs that need it report that; the next sweep wakes it again
            log.warning("session %s: %s", session.name, error)
            return None

    async def _step(self, session: Session) -> float | None:
        session, idle = await self._stacks.tend(session)
        left = await self._rest(session)
        return min((one for one in (idle, left) if one is not None), default=None)

    async def _rest(self, session: Session) -> float | None:
        """Everything but its stack."""
        if (current := session.status.current_run) is not None:
            if not await self._is_used(session.namespace, current):
                await self._turns.vacate(session, current.uid)
            return None
        if session.parent and session.status.copied_from is None:
            await self._forks.tidy(session.uid)
        if await self._sizes.measure(session):
            return 0.0
        if not session.status.has_conditions:
            await self._reporter.at(session, ReadyReason.Available, "no run has used it yet")
            return None
        left = lifetime.seconds_left(session, datetime.now(UTC))
        if left is None or left > 0:
            if session.status.reason == ReadyReason.Expired:  # its time to live has changed since
                await self._reporter.at(session, ReadyReason.Available, "no run is using it")
            return left
        # Its status is written first, by compare-and-swap, so that no run takes a session that is about to be deleted.
        await self._reporter.at(session, ReadyReason.Expired, f"not used for {session.ttl}; it is being deleted")
        await self._cluster.delete_session(session.namespace, session.name)
        return None

    async def _is_used(self, namespace: str, current: RunRef) -> bool:
        """Whether its current run still needs the session: to run in it, or to copy it.

        The operator gives back the turn of a run that it knows, whenever that ends or is deleted.
        """
        if self._store.get(current.uid) is not None:
            return True
        run = await self._cluster.run(namespace, current.name)
        if run is None or run.uid != current.uid:
            return False
        return not run.is_being_deleted and not run.status.is_finished
