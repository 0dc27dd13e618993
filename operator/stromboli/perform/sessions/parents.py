"""The parent of a fork: the fork's run takes its turn for as long as it is being copied."""

from __future__ import annotations

from stromboli.errors import Waiting
from stromboli.kube.client import Cluster
from stromboli.models.run import Run
from stromboli.models.session import Origin, RunRef, Session
from stromboli.observe.sessions import Queues
from stromboli.perform.sessions.report import SessionReporter
from stromboli.reasons import Reason
from stromboli.status import session as session_status


class Parents:
    """The parents of this node's forks."""

    def __init__(self, cluster: Cluster, queues: Queues, reporter: SessionReporter) -> None:
        self._cluster = cluster
        self._queues = queues
        self._reporter = reporter

    async def taken(self, run: Run, fork: Session, origin: Origin) -> Session:
        """Take the parent's turn for the run; returns the parent. Idempotent.

        Raises Waiting if it is another run's turn, or if the parent was deleted; Conflict, ClusterUnavailable.
        """
        parent = await self._cluster.session_outline(fork.namespace, origin.name)
        if parent is None or parent.uid != origin.uid:
            raise Waiting(
                Reason.WaitingForReference,
                f"the session {origin.name} was deleted before it was copied; delete the session "
                f"{fork.name} as well, and fork another",
            )
        await self._queues.await_turn(run, parent, origin.name)
        if parent.status.is_held_by(run.uid):
            return parent
        taken = session_status.taken(parent.status, RunRef(run.name, run.uid), self._reporter.moment(parent))
        return await self._reporter.write(parent, taken)
